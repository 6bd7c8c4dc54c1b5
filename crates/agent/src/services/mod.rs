//! What the agent does for Services beside making rows true: it keeps account of what is to be
//! programmed ([`programming`]), puts UDP flows right that began under other rules ([`flows`]),
//! says which health checks there are ([`checks`]), and looks whether the node's own clients take
//! ports that Services have ([`clashes`]). How traffic is balanced is the planner's.

pub(crate) mod checks;
pub(crate) mod clashes;
pub(crate) mod flows;
#[cfg(test)]
mod namespaced;
pub(crate) mod programming;
pub(crate) mod touched;
