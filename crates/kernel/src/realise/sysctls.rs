//! Rows of kernel settings: where they are below `/proc/sys`, reading and writing them.

use seaway_model::{Device, Family, Row, SysctlRow, SysctlScope};
use seaway_plan::{Change, Table};

use super::RowFailure;
use crate::error::KernelError;
use crate::sysctl;

/// The path of a setting; `None` while its device does not exist.
fn path(row: &SysctlRow, name_of: &dyn Fn(&Device) -> Option<String>) -> Option<String> {
    let family = match row.key.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let name = row.key.name;
    Some(match &row.key.scope {
        SysctlScope::Family => format!("net/{family}/{name}"),
        SysctlScope::All => format!("net/{family}/conf/all/{name}"),
        SysctlScope::Device(device) => format!("net/{family}/conf/{}/{name}", name_of(device)?),
    })
}

/// The settings of the planned keys as they are; those whose device does not exist are left out.
pub(super) fn observe(
    planned: &Table<SysctlRow>,
    name_of: &dyn Fn(&Device) -> Option<String>,
) -> Table<SysctlRow> {
    let read = |row: &SysctlRow| {
        let value = sysctl::read(&path(row, name_of)?).ok()?;
        Some(SysctlRow {
            key: row.key.clone(),
            value,
        })
    };
    planned.iter().filter_map(read).collect()
}

/// Writes settings that differ. A setting that is no longer planned stays as it is: its value
/// before us is not known, and its device is ours and going.
pub(super) fn apply(
    changes: &[Change<SysctlRow>],
    name_of: &dyn Fn(&Device) -> Option<String>,
    failures: &mut Vec<RowFailure>,
) {
    for change in changes {
        if let Change::Upsert(row) = change
            && let Err(error) = write(row, name_of)
        {
            failures.push(RowFailure {
                table: SysctlRow::TABLE,
                key: row.key().to_string(),
                errno: error.errno(),
                error: error.to_string(),
            });
        }
    }
}

fn write(row: &SysctlRow, name_of: &dyn Fn(&Device) -> Option<String>) -> Result<(), KernelError> {
    let absent = || std::io::Error::from_raw_os_error(libc::ENODEV);
    let path = path(row, name_of)
        .ok_or_else(|| KernelError::new("find the device of", row.key.to_string(), absent()))?;
    if sysctl::read(&path).is_ok_and(|value| value == row.value) {
        return Ok(());
    }
    sysctl::write(&path, &row.value)
}
