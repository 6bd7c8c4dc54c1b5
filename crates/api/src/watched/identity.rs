//! Which cluster a server speaks for.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource};

use crate::connect::Together;
use crate::{Failure, Identity, describe};

/// Reads the uid of Namespace `kube-system`.
///
/// # Errors
///
/// The request failed in a way that may pass. A server that refuses for good gives
/// [`Identity::Untold`].
pub async fn read_identity(client: &Client) -> Result<Identity, kube::Error> {
    read_identity_of(client, &Together::default()).await
}

/// The same, of the server that these requests go to.
pub(super) async fn read_identity_of(
    client: &Client,
    together: &Together,
) -> Result<Identity, kube::Error> {
    let namespaces = Request::new(Namespace::url_path(&(), None));
    let get = namespaces.get("kube-system", &GetParams::default());
    let mut get = get.map_err(kube::Error::BuildRequest)?;
    get.extensions_mut().insert(together.clone());
    match client.request::<Namespace>(get).await {
        Ok(namespace) => Ok(match namespace.metadata.uid {
            Some(uid) if !uid.is_empty() => Identity::Known(uid.into()),
            _ => Identity::Untold("it has no uid".to_owned()),
        }),
        Err(error) => match Failure::of(&error) {
            Failure::Refused | Failure::Absent => Ok(Identity::Untold(describe(&error))),
            _ => Err(error),
        },
    }
}
