//! Where async begins: one runtime on the main thread for a daemon, ended by SIGTERM or SIGINT.

use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a daemon on the calling thread. It is given what becomes ready when it is to end.
pub(crate) fn block_on<F>(
    daemon: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    seaway_api::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    runtime.block_on(async {
        let mut ends = [SignalKind::terminate(), SignalKind::interrupt()]
            .map(signal)
            .into_iter()
            .collect::<std::io::Result<Vec<_>>>()
            .context("wait for signals")?;
        let shutdown = Box::pin(async move {
            let [first, second] = ends.as_mut_slice() else {
                return std::future::pending().await;
            };
            tokio::select! {
                _ = first.recv() => {}
                _ = second.recv() => {}
            }
        });
        daemon(shutdown).await
    })?;
    Ok(ExitCode::SUCCESS)
}
