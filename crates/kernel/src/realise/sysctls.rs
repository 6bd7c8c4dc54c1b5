//! Rows of kernel settings: where they are below `/proc/sys`, reading and writing them.
//!
//! A setting of the uplink is not on a device of ours: its value before us is kept ([`Saved`]), and
//! given back when the row goes or another device becomes the uplink.

use std::io;

use seaway_model::{Device, Family, Row, SysctlKey, SysctlRow, SysctlScope};
use seaway_plan::{Change, Table};

use super::saved::Saved;
use super::{DeviceInfo, RowFailure};
use crate::error::KernelError;
use crate::sysctl;

/// The settings of the uplink that a plan may ask for.
const OF_UPLINK: [&str; 5] = [
    "accept_ra",
    "proxy_ndp",
    "proxy_delay",
    "rp_filter",
    "forwarding",
];

/// The path of a setting; `None` while its device does not exist.
fn path(key: &SysctlKey, name_of: &dyn Fn(&Device) -> Option<String>) -> Option<String> {
    let family = match key.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let name = key.name;
    Some(match &key.scope {
        SysctlScope::Family => format!("net/{family}/{name}"),
        SysctlScope::All => format!("net/{family}/conf/all/{name}"),
        SysctlScope::Neighbours(device) => {
            format!("net/{family}/neigh/{}/{name}", name_of(device)?)
        }
        SysctlScope::Device(device) => format!("net/{family}/conf/{}/{name}", name_of(device)?),
    })
}

/// The device of a setting.
pub(super) fn device_of(key: &SysctlKey) -> Option<&Device> {
    match &key.scope {
        SysctlScope::Device(device) | SysctlScope::Neighbours(device) => Some(device),
        SysctlScope::Family | SysctlScope::All => None,
    }
}

/// The settings of the planned keys as they are; those whose device does not exist are left out.
pub(super) fn observe(
    planned: &Table<SysctlRow>,
    name_of: &dyn Fn(&Device) -> Option<String>,
) -> Table<SysctlRow> {
    planned
        .iter()
        .filter_map(|row| read(&row.key, name_of))
        .collect()
}

fn read(key: &SysctlKey, name_of: &dyn Fn(&Device) -> Option<String>) -> Option<SysctlRow> {
    let value = sysctl::read(&path(key, name_of)?).ok()?;
    Some(SysctlRow {
        key: key.clone(),
        value,
    })
}

/// The settings of the uplink that we changed once, as they are, planned or not: what is not planned
/// any more is to be given back.
pub(super) fn observe_saved(
    saved: &mut Saved,
    uplink: &DeviceInfo,
    tables: &mut Table<SysctlRow>,
) -> Result<(), KernelError> {
    for (family, neighbours, name) in saved.of_device(uplink)? {
        let Some(name) = OF_UPLINK.into_iter().find(|known| *known == name) else {
            continue;
        };
        let scope = match neighbours {
            true => SysctlScope::Neighbours(Device::Uplink),
            false => SysctlScope::Device(Device::Uplink),
        };
        let key = SysctlKey {
            family,
            scope,
            name,
        };
        tables.extend_with(read(&key, &|_| Some(uplink.name.clone())));
    }
    Ok(())
}

/// Writes settings that differ. A setting on a device of ours, or of the whole namespace, that is
/// no longer planned stays as it is: its device goes, or others may rely on it by now.
pub(super) fn apply<'a>(
    changes: impl IntoIterator<Item = &'a Change<SysctlRow>>,
    name_of: &dyn Fn(&Device) -> Option<String>,
    failures: &mut Vec<RowFailure>,
) {
    for change in changes {
        if let Change::Upsert(row) = change
            && let Err(error) = write(row, name_of)
        {
            failures.push(RowFailure::for_row(row, &error));
        }
    }
}

/// Likewise for settings of the uplink, whose values before us are kept and given back.
pub(super) fn apply_saved<'a>(
    changes: impl IntoIterator<Item = &'a Change<SysctlRow>>,
    uplink: &DeviceInfo,
    saved: &mut Saved,
    failures: &mut Vec<RowFailure>,
) {
    for change in changes {
        let row = change.row();
        let result = match change {
            Change::Upsert(row) => keep_and_write(row, uplink, saved),
            Change::Delete(row) => give_back(&row.key, uplink, saved),
        };
        if let Err(error) = result {
            failures.push(RowFailure::for_row(row, &error));
        }
    }
}

/// What cannot be kept is not changed.
fn keep_and_write(
    row: &SysctlRow,
    uplink: &DeviceInfo,
    saved: &mut Saved,
) -> Result<(), KernelError> {
    let name_of = |_: &Device| Some(uplink.name.clone());
    let path = path(&row.key, &name_of).ok_or_else(|| absent(&row.key))?;
    saved.keep(uplink, &row.key, &sysctl::read(&path)?)?;
    write(row, &name_of)
}

fn give_back(key: &SysctlKey, uplink: &DeviceInfo, saved: &mut Saved) -> Result<(), KernelError> {
    let Some(value) = saved.get(uplink, key)? else {
        return Ok(());
    };
    let row = SysctlRow {
        key: key.clone(),
        value,
    };
    write(&row, &|_| Some(uplink.name.clone()))?;
    saved.forget(uplink, key)
}

/// Gives back what devices had that are the uplink no more.
pub(super) fn release_others(
    saved: &mut Saved,
    uplink: &DeviceInfo,
    failures: &mut Vec<RowFailure>,
) {
    let result = saved.release_others(uplink, |path, value| {
        match sysctl::write(path, value) {
            Ok(()) => tracing::info!(setting = path, value, "given back"),
            // The device is gone, and what it was with it.
            Err(error) if error.is_absent() => {}
            Err(error) => tracing::warn!(%error, setting = path, value, "not given back"),
        }
    });
    if let Err(error) = result {
        failures.push(RowFailure::of(SysctlRow::TABLE, &"(saved)", &error));
    }
}

fn absent(key: &SysctlKey) -> KernelError {
    let absent = io::Error::from_raw_os_error(libc::ENODEV);
    KernelError::new("find the device of", key.to_string(), absent)
}

fn write(row: &SysctlRow, name_of: &dyn Fn(&Device) -> Option<String>) -> Result<(), KernelError> {
    let path = path(&row.key, name_of).ok_or_else(|| absent(&row.key))?;
    if sysctl::read(&path).is_ok_and(|value| value == row.value) {
        return Ok(());
    }
    sysctl::write(&path, &row.value)
}

#[cfg(test)]
mod tests {
    use super::super::saved::path_of;
    use super::*;

    #[test]
    fn a_setting_and_what_was_kept_of_it_have_one_path() {
        let key = SysctlKey {
            family: Family::V4,
            scope: SysctlScope::Neighbours(Device::Uplink),
            name: "proxy_delay",
        };
        let planned = path(&key, &|_| Some("eth0.5".to_owned()));
        assert_eq!(planned, path_of("net/ipv4/neigh/proxy_delay", "eth0.5"));
    }
}
