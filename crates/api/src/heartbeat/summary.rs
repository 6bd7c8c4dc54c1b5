//! What an agent says of itself and its node, for `seaway status` of the whole cluster: small,
//! whatever is wrong, and readable by older and newer versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The format that is written. Fields are only ever added; it grows when one changes its meaning.
pub const SUMMARY_FORMAT: u32 = 1;
/// How many texts of a kind are told; the last one may be how many more there are.
const MOST_TEXTS: usize = 8;
/// How many bytes a text has at most.
const MOST_BYTES: usize = 300;

/// An agent in brief. Unknown fields are passed over, missing ones are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentSummary {
    /// The format, see [`SUMMARY_FORMAT`].
    pub format: u32,
    /// The agent's version.
    pub version: String,
    /// When it was started, in RFC 3339.
    pub started: String,
    /// Whether a Pod could be attached now.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many Pods are attached.
    pub pods: usize,
    /// The node's pod CIDRs.
    pub pod_cidrs: Vec<PoolSummary>,
    /// The rows of the node.
    pub rows: RowsSummary,
    /// What does not work; "and N more" at the end, if there are too many.
    pub problems: Vec<String>,
    /// What works, but not as people may think.
    pub warnings: Vec<String>,
    /// What is worth knowing, such as other CNI configurations.
    pub notes: Vec<String>,
    /// The device towards the other nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<UplinkSummary>,
    /// How packets get to other nodes.
    pub transport: String,
    /// How Pods are joined to the node.
    pub wiring: String,
    /// The MTU of Pod links in bytes.
    pub mtu: u32,
    /// What forwards and filters in the kernel, for example `nftables`.
    pub backend: String,
    /// The API server in use.
    pub api_server: String,
    /// How many packets the filters have dropped, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub drops: BTreeMap<String, u64>,
    /// By how many seconds the node's clock is before the API server's (or behind, if negative);
    /// only if that is worth mentioning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<i64>,
}

/// A pod CIDR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PoolSummary {
    /// The network.
    pub cidr: String,
    /// How many addresses there are for Pods; no more than the type holds.
    pub usable: u64,
    /// How many of them are free.
    pub free: u64,
}

/// The rows of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RowsSummary {
    /// How many are planned.
    pub planned: usize,
    /// How many were not as planned when the kernel was compared last, and are not repaired.
    pub drifted: usize,
    /// How many have been repaired since the start.
    pub repaired: u64,
}

/// The device towards the other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UplinkSummary {
    /// Its name.
    pub name: String,
    /// The node's addresses on it.
    pub addresses: Vec<String>,
    /// Its MTU in bytes.
    pub mtu: u32,
}

impl AgentSummary {
    /// With no more texts than fit into an annotation, none of them long.
    pub fn bounded(mut self) -> AgentSummary {
        for texts in [&mut self.problems, &mut self.warnings, &mut self.notes] {
            bound(texts);
        }
        if let Some(reason) = &mut self.reason {
            cut(reason);
        }
        self
    }

    /// Whether others should hear of the difference soon. Figures that change all the time can wait
    /// for the next renewal.
    pub(crate) fn is_news_after(&self, before: &AgentSummary) -> bool {
        let calm = |summary: &AgentSummary| AgentSummary {
            pods: 0,
            pod_cidrs: Vec::new(),
            rows: RowsSummary {
                drifted: usize::from(summary.rows.drifted > 0),
                ..RowsSummary::default()
            },
            drops: BTreeMap::new(),
            ..summary.clone()
        };
        let cidrs = |summary: &AgentSummary| -> Vec<String> {
            let all = summary.pod_cidrs.iter();
            all.map(|pool| pool.cidr.clone()).collect()
        };
        calm(self) != calm(before) || cidrs(self) != cidrs(before)
    }
}

fn bound(texts: &mut Vec<String>) {
    if texts.len() > MOST_TEXTS {
        let more = texts.len() - (MOST_TEXTS - 1);
        texts.truncate(MOST_TEXTS - 1);
        texts.push(format!("and {more} more"));
    }
    texts.iter_mut().for_each(cut);
}

fn cut(text: &mut String) {
    const END: &str = " …";
    if text.len() > MOST_BYTES {
        let room = text.floor_char_boundary(MOST_BYTES - END.len());
        text.truncate(room);
        text.push_str(END);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_passed_over_and_missing_ones_empty() {
        let text = json!({"format": 9, "version": "7.0", "ready": true, "moon": {"phase": "full"},
            "rows": {"planned": 3, "sorted": true}});
        let read: AgentSummary = serde_json::from_value(text).expect("readable");
        assert_eq!((read.format, read.version.as_str()), (9, "7.0"));
        assert!(read.ready && read.rows.planned == 3 && read.problems.is_empty());
    }

    #[test]
    fn it_stays_small_whatever_is_wrong() {
        let texts: Vec<String> = (0..500)
            .map(|n| format!("{n} {}", "ü".repeat(999)))
            .collect();
        let summary = AgentSummary {
            reason: Some(texts[0].clone()),
            problems: texts.clone(),
            warnings: texts.clone(),
            notes: texts,
            ..AgentSummary::default()
        };
        let summary = summary.bounded();
        assert_eq!(summary.problems.len(), MOST_TEXTS);
        assert_eq!(summary.problems[MOST_TEXTS - 1], "and 493 more");
        let size = serde_json::to_vec(&summary).expect("JSON").len();
        assert!(size < 9000, "{size} bytes");
    }

    #[test]
    fn what_changes_all_the_time_is_no_news() {
        let pool = |cidr: &str, free| PoolSummary {
            cidr: cidr.to_owned(),
            usable: 254,
            free,
        };
        let before = AgentSummary {
            pods: 1,
            pod_cidrs: vec![pool("10.0.0.0/24", 250)],
            ..AgentSummary::default()
        };
        let mut after = before.clone();
        after.pods = 9;
        after.pod_cidrs[0].free = 9;
        after.rows.repaired = 7;
        after.rows.planned = 70;
        after.drops.insert("pod-source".to_owned(), 3);
        assert!(!after.is_news_after(&before));
        for change in [
            |s: &mut AgentSummary| s.ready = true,
            |s: &mut AgentSummary| s.rows.drifted = 1,
            |s: &mut AgentSummary| s.problems.push("x".to_owned()),
            |s: &mut AgentSummary| s.pod_cidrs[0].cidr = "10.0.1.0/24".to_owned(),
        ] {
            let mut other = before.clone();
            change(&mut other);
            assert!(other.is_news_after(&before), "{other:?}");
        }
    }
}
