//! Names of objects in namespaces: `namespace/name`, checked once at the rim and trusted afterwards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::{NameError, is_label, subdomain_rule};

macro_rules! object_name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type {
            namespace: Arc<str>,
            name: Arc<str>,
        }

        impl $type {
            /// A name from its two parts, each checked against the rules of Kubernetes.
            ///
            /// # Errors
            ///
            /// Names the part and the rule that it breaks.
            pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
                if !is_label(namespace) {
                    let rule = "it must be 1 to 63 lower-case letters, digits and -";
                    let value = namespace.to_owned();
                    return Err(NameError { kind: "namespace", value, rule });
                }
                match subdomain_rule(name) {
                    Some(rule) => {
                        let value = name.to_owned();
                        Err(NameError { kind: concat!($kind, " name"), value, rule })
                    }
                    None => Ok(Self { namespace: namespace.into(), name: name.into() }),
                }
            }

            /// The namespace part.
            pub fn namespace(&self) -> &str {
                &self.namespace
            }

            /// The name part.
            pub fn name(&self) -> &str {
                &self.name
            }

            /// The namespace part, to be shared with other names.
            pub fn shared_namespace(&self) -> &Arc<str> {
                &self.namespace
            }

            /// Uses `namespace` from now on if it is the same text: many names, one copy.
            pub fn share_namespace(&mut self, namespace: &Arc<str>) {
                if self.namespace == *namespace {
                    self.namespace = namespace.clone();
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{}/{}", self.namespace, self.name))
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match text.split_once('/') {
                    Some((namespace, name)) => Self::new(namespace, name),
                    None => Err(NameError {
                        kind: $kind,
                        value: text.to_owned(),
                        rule: "it must be written namespace/name",
                    }),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.to_string()
            }
        }
    };
}

object_name! {
    /// `namespace/name` of a Pod.
    PodName, "Pod"
}
object_name! {
    /// `namespace/name` of a Service.
    ServiceName, "Service"
}
object_name! {
    /// `namespace/name` of an EndpointSlice.
    SliceName, "EndpointSlice"
}
