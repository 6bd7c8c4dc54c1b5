//! Reviews: objects that are only created, and that come back answered. Who am I, what may I, may they,
//! whose token is this.

/// One kind of review.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) namespaced: bool,
}

/// The version of all of them.
pub(crate) const VERSION: &str = "v1";
const ACCESS: &str = "authorization.k8s.io";
const IDENTITY: &str = "authentication.k8s.io";

const fn review(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Review {
    Review {
        group,
        kind,
        plural,
        singular,
        namespaced: false,
    }
}

/// Every kind of review, in the order of discovery.
pub(crate) static ALL: [Review; 6] = [
    review(
        IDENTITY,
        "SelfSubjectReview",
        "selfsubjectreviews",
        "selfsubjectreview",
    ),
    review(IDENTITY, "TokenReview", "tokenreviews", "tokenreview"),
    Review {
        namespaced: true,
        ..review(
            ACCESS,
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
        )
    },
    review(
        ACCESS,
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
    ),
    review(
        ACCESS,
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
    ),
    review(
        ACCESS,
        "SubjectAccessReview",
        "subjectaccessreviews",
        "subjectaccessreview",
    ),
];

/// The kind of review that is made under a path.
pub(crate) fn find(
    group: &str,
    version: &str,
    plural: &str,
    namespaced: bool,
) -> Option<&'static Review> {
    ALL.iter().find(|review| {
        review.group == group
            && version == VERSION
            && review.plural == plural
            && review.namespaced == namespaced
    })
}

/// The reviews of a group and version.
pub(crate) fn of<'a>(
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'static Review> + 'a {
    ALL.iter()
        .filter(move |review| review.group == group && version == VERSION)
}
