//! Citing rows: by table and key, as `seaway tables` shows them, and how they stand to the plan.

use seaway_model::Row;
use serde::Serialize;

use super::{Basis, Walker};
use crate::table::{RowState, Table, Tables};

/// A row that something follows from, or the absence of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Citation {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// The row as it is in the rows that are walked; `None` where it is missing.
    pub row: Option<String>,
    /// How plan and kernel stand to each other; `None` when it is in neither.
    pub state: Option<RowState>,
}

impl Citation {
    /// Whether plan and kernel differ in it.
    pub fn drifts(&self) -> bool {
        !matches!(self.state, None | Some(RowState::InForce))
    }
}

impl Walker<'_> {
    /// The row of a key in one of the tables, there or not.
    pub(super) fn cite<R: Row>(
        &self,
        table: impl Fn(&Tables) -> &Table<R>,
        key: &R::Key,
    ) -> Citation {
        let planned = table(self.planned).get(key);
        let observed = table(self.observed).get(key);
        let state = match (planned, observed) {
            (None, None) => None,
            (Some(_), None) => Some(RowState::Missing),
            (None, Some(_)) => Some(RowState::Unplanned),
            (Some(row), Some(found)) if row.in_force(found) => Some(RowState::InForce),
            (Some(_), Some(_)) => Some(RowState::Differs),
        };
        let walked = match self.basis {
            Basis::Planned => planned,
            Basis::Observed => observed,
        };
        Citation {
            table: R::TABLE,
            key: key.to_string(),
            row: walked.map(ToString::to_string),
            state,
        }
    }
}
