//! Work while the Lease is held.

use std::pin::{Pin, pin};
use std::sync::Arc;

use kube::Client;
use tokio::sync::oneshot;

use super::Election;
use super::seat::Seat;
use super::term::Clock;
use crate::standing::Standing;

/// Tells work that it is to come to its end.
pub type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Works whenever this process leads, until `stop`; then the work comes to its end and the Lease is
/// given back. Work is given a client that sends nothing once the term is over, and is dropped then.
///
/// # Errors
///
/// Those of the work, which is not expected to end by itself.
pub async fn lead<F, E>(
    client: Client,
    election: Election,
    standing: Arc<Standing>,
    stop: impl Future<Output = ()>,
    work: impl Fn(Client, Ending) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    lead_by(Clock::of_machine(), client, election, standing, stop, work).await
}

/// The same by any clock.
pub(super) async fn lead_by<F, E>(
    clock: Clock,
    client: Client,
    election: Election,
    standing: Arc<Standing>,
    stop: impl Future<Output = ()>,
    work: impl Fn(Client, Ending) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    let mut stop = pin!(stop);
    let (name, identity) = (election.lease.clone(), election.identity.clone());
    let mut seat = Seat::new(client.clone(), election, clock);
    loop {
        let term = tokio::select! {
            term = seat.acquire(&standing) => term,
            () = &mut stop => return Ok(()),
        };
        standing.begin();
        tracing::info!(lease = name, identity, "this controller leads");
        let (end, ended) = oneshot::channel::<()>();
        let ending: Ending = Box::pin(async {
            let _ = ended.await;
        });
        let mut working = Box::pin(work(term.guard(client.clone()), ending));
        let done = tokio::select! {
            why = seat.keep(&term, &standing) => {
                term.close();
                tracing::warn!(lease = name, why, "this controller leads no more");
                None
            }
            result = &mut working => Some(result),
            () = &mut stop => {
                drop(end);
                Some(working.as_mut().await)
            }
        };
        drop(working);
        term.close();
        standing.end();
        if let Some(result) = done {
            seat.release().await;
            return result;
        }
    }
}
