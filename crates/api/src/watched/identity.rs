//! Which cluster a server speaks for.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use crate::{Failure, Identity, describe};

/// Reads the uid of Namespace `kube-system`.
///
/// # Errors
///
/// The request failed in a way that may pass. A server that refuses for good gives
/// [`Identity::Untold`].
pub async fn read_identity(client: &Client) -> Result<Identity, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.get("kube-system").await {
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
