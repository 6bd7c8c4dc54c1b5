//! Which lists of the served kinds are merged, and by which keys.
//!
//! A list that is not told of here is atomic: a patch replaces it as a whole, as Kubernetes does. The
//! first key is the one that strategic merge patches go by; all of them together tell the items apart.

use crate::kinds::Kind;

/// The fields of an object that need telling.
pub(crate) struct Type {
    fields: &'static [Field],
}

/// One field.
pub(crate) struct Field {
    name: &'static str,
    /// What it is.
    pub(crate) shape: Shape,
    /// The fields of the object, or of each item.
    pub(crate) of: &'static Type,
}

/// How a field is merged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// An object: field by field.
    Object,
    /// A list of texts, each there once.
    Set,
    /// A list of objects that these fields tell apart.
    Map(&'static [&'static str]),
}

impl Type {
    /// What is told of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The type of a kind's objects.
pub(crate) fn of(kind: &Kind) -> &'static Type {
    match kind.kind {
        "Pod" => &POD,
        "Node" => &NODE,
        "Namespace" => &NAMESPACE,
        "Service" => &SERVICE,
        "ServiceAccount" => &SERVICE_ACCOUNT,
        "DaemonSet" | "Deployment" | "ReplicaSet" => &WORKLOAD,
        _ => &PLAIN,
    }
}

const fn object(name: &'static str, of: &'static Type) -> Field {
    Field {
        name,
        shape: Shape::Object,
        of,
    }
}

const fn set(name: &'static str) -> Field {
    Field {
        name,
        shape: Shape::Set,
        of: &ANY,
    }
}

const fn map(name: &'static str, keys: &'static [&'static str], of: &'static Type) -> Field {
    Field {
        name,
        shape: Shape::Map(keys),
        of,
    }
}

/// An object without lists that are merged.
pub(crate) static ANY: Type = Type { fields: &[] };

static METADATA: Type = Type {
    fields: &[map("ownerReferences", &["uid"], &ANY), set("finalizers")],
};

static PLAIN: Type = Type {
    fields: &[object("metadata", &METADATA)],
};

static CONDITIONS: Type = Type {
    fields: &[map("conditions", &["type"], &ANY)],
};

static POD: Type = Type {
    fields: &[
        object("metadata", &METADATA),
        object("spec", &POD_SPEC),
        object("status", &POD_STATUS),
    ],
};

static TEMPLATE: Type = Type {
    fields: &[object("metadata", &METADATA), object("spec", &POD_SPEC)],
};

static POD_SPEC: Type = Type {
    fields: &[
        map("containers", &["name"], &CONTAINER),
        map("initContainers", &["name"], &CONTAINER),
        map("ephemeralContainers", &["name"], &CONTAINER),
        map("volumes", &["name"], &ANY),
        map("imagePullSecrets", &["name"], &ANY),
        map("hostAliases", &["ip"], &ANY),
        map(
            "topologySpreadConstraints",
            &["topologyKey", "whenUnsatisfiable"],
            &ANY,
        ),
        map("resourceClaims", &["name"], &ANY),
        map("schedulingGates", &["name"], &ANY),
    ],
};

static CONTAINER: Type = Type {
    fields: &[
        map("ports", &["containerPort", "protocol"], &ANY),
        map("env", &["name"], &ANY),
        map("volumeMounts", &["mountPath"], &ANY),
        map("volumeDevices", &["devicePath"], &ANY),
    ],
};

static POD_STATUS: Type = Type {
    fields: &[
        map("conditions", &["type"], &ANY),
        map("podIPs", &["ip"], &ANY),
        map("hostIPs", &["ip"], &ANY),
        map("resourceClaimStatuses", &["name"], &ANY),
    ],
};

static NODE: Type = Type {
    fields: &[
        object("metadata", &METADATA),
        object(
            "spec",
            &Type {
                fields: &[set("podCIDRs")],
            },
        ),
        object(
            "status",
            &Type {
                fields: &[
                    map("conditions", &["type"], &ANY),
                    map("addresses", &["type"], &ANY),
                ],
            },
        ),
    ],
};

static NAMESPACE: Type = Type {
    fields: &[object("metadata", &METADATA), object("status", &CONDITIONS)],
};

static SERVICE: Type = Type {
    fields: &[
        object("metadata", &METADATA),
        object(
            "spec",
            &Type {
                fields: &[map("ports", &["port", "protocol"], &ANY)],
            },
        ),
        object("status", &CONDITIONS),
    ],
};

static SERVICE_ACCOUNT: Type = Type {
    fields: &[
        object("metadata", &METADATA),
        map("secrets", &["name"], &ANY),
    ],
};

static WORKLOAD: Type = Type {
    fields: &[
        object("metadata", &METADATA),
        object(
            "spec",
            &Type {
                fields: &[object("template", &TEMPLATE)],
            },
        ),
        object("status", &CONDITIONS),
    ],
};
