//! Settings of devices that are not ours: what they were before us, kept in a file so that a later
//! agent can still give them back, and does not take what an earlier one set for the original.
//!
//! The file is JSON, replaced as a whole: by device, its index when the value was taken (a renamed
//! device is known by it) and the values by setting.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use seaway_model::{Family, SysctlKey, SysctlScope};
use serde::{Deserialize, Serialize};

use super::DeviceInfo;
use crate::error::{Context, KernelError};
use crate::sysctl;

/// The values before us.
#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
    /// `None` until the file has been read.
    devices: Option<BTreeMap<String, DeviceValues>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct DeviceValues {
    index: u32,
    values: BTreeMap<String, String>,
}

/// A setting of a device, without the device: `net/ipv6/conf/accept_ra`.
fn setting(key: &SysctlKey) -> Option<String> {
    let family = match key.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let part = match key.scope {
        SysctlScope::Device(_) => "conf",
        SysctlScope::Neighbours(_) => "neigh",
        SysctlScope::Family | SysctlScope::All => return None,
    };
    Some(format!("net/{family}/{part}/{}", key.name))
}

/// Where a setting of a device is below `/proc/sys`.
pub(super) fn path_of(setting: &str, device: &str) -> Option<String> {
    let (directory, name) = setting.rsplit_once('/')?;
    Some(format!("{directory}/{device}/{name}"))
}

impl Saved {
    pub(super) fn new(path: PathBuf) -> Saved {
        Saved {
            path,
            devices: None,
        }
    }

    fn devices(&mut self) -> Result<&mut BTreeMap<String, DeviceValues>, KernelError> {
        if self.devices.is_none() {
            self.devices = Some(read(&self.path)?);
        }
        Ok(self.devices.get_or_insert_default())
    }

    /// What a setting of a device was before us.
    pub(super) fn get(
        &mut self,
        device: &DeviceInfo,
        key: &SysctlKey,
    ) -> Result<Option<String>, KernelError> {
        self.follow(device)?;
        let Some(setting) = setting(key) else {
            return Ok(None);
        };
        let values = self.devices()?.get(&device.name);
        Ok(values.and_then(|found| found.values.get(&setting).cloned()))
    }

    /// Keeps what a setting is before we change it; the first value that was kept stays.
    pub(super) fn keep(
        &mut self,
        device: &DeviceInfo,
        key: &SysctlKey,
        value: &str,
    ) -> Result<(), KernelError> {
        let Some(setting) = setting(key) else {
            return Ok(());
        };
        if self.get(device, key)?.is_some() {
            return Ok(());
        }
        let found = self.devices()?.entry(device.name.clone()).or_default();
        found.index = device.index;
        found.values.insert(setting, value.to_owned());
        self.write()
    }

    /// Forgets what a setting was: it is so again.
    pub(super) fn forget(
        &mut self,
        device: &DeviceInfo,
        key: &SysctlKey,
    ) -> Result<(), KernelError> {
        if let Some(setting) = setting(key)
            && let Some(found) = self.devices()?.get_mut(&device.name)
            && found.values.remove(&setting).is_some()
        {
            if found.values.is_empty() {
                self.devices()?.remove(&device.name);
            }
            self.write()?;
        }
        Ok(())
    }

    /// The settings of a device that we changed, each with family, whether it is of the neighbours,
    /// and name.
    pub(super) fn of_device(
        &mut self,
        device: &DeviceInfo,
    ) -> Result<Vec<(Family, bool, String)>, KernelError> {
        self.follow(device)?;
        let values = self.devices()?.get(&device.name);
        let settings = values.into_iter().flat_map(|found| found.values.keys());
        Ok(settings.filter_map(|text| parts(text)).collect())
    }

    /// The values of devices other than `device`, by their paths below `/proc/sys`, which are to be
    /// given back: they are forgotten here once `give_back` has seen them all.
    pub(super) fn release_others(
        &mut self,
        device: &DeviceInfo,
        mut give_back: impl FnMut(&str, &str),
    ) -> Result<(), KernelError> {
        self.follow(device)?;
        let devices = self.devices()?;
        if devices.keys().all(|name| *name == device.name) {
            return Ok(());
        }
        for (name, found) in devices.iter().filter(|(name, _)| **name != device.name) {
            for (setting, value) in &found.values {
                if let Some(path) = path_of(setting, name) {
                    give_back(&path, value);
                }
            }
        }
        devices.retain(|name, _| *name == device.name);
        self.write()
    }

    /// A device that was renamed keeps its values, under its new name.
    fn follow(&mut self, device: &DeviceInfo) -> Result<(), KernelError> {
        let devices = self.devices()?;
        let renamed = |(name, found): (&String, &DeviceValues)| {
            let gone = || !sysctl::has_device(name);
            (found.index == device.index && *name != device.name && gone()).then(|| name.clone())
        };
        if devices.contains_key(&device.name) {
            return Ok(());
        }
        let Some(old) = devices.iter().find_map(renamed) else {
            return Ok(());
        };
        if let Some(found) = devices.remove(&old) {
            devices.insert(device.name.clone(), found);
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), KernelError> {
        let path = self.path.clone();
        let text = serde_json::to_vec_pretty(self.devices()?).map_err(io::Error::other);
        text.and_then(|text| replace(&path, &text))
            .during("write", || path.display().to_string())
    }
}

/// Replaces a file as a whole.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

fn read(path: &Path) -> Result<BTreeMap<String, DeviceValues>, KernelError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(io::Error::other)
            .during("read", || {
                format!(
                    "{} (what settings of the uplink were before us; delete it if it is damaged)",
                    path.display()
                )
            }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(e).during("read", || path.display().to_string()),
    }
}

fn parts(setting: &str) -> Option<(Family, bool, String)> {
    let mut parts = setting.strip_prefix("net/")?.splitn(3, '/');
    let family = match parts.next()? {
        "ipv4" => Family::V4,
        "ipv6" => Family::V6,
        _ => return None,
    };
    let neighbours = parts.next()? == "neigh";
    Some((family, neighbours, parts.next()?.to_owned()))
}

/// What a setting of a device, for example `net/ipv6/conf/accept_ra`, was before us, for each device
/// of which the file at `path` tells.
pub(crate) fn before_us(
    path: &Path,
    setting: &str,
) -> Result<BTreeMap<String, String>, KernelError> {
    let devices = read(path)?.into_iter();
    Ok(devices
        .filter_map(|(name, mut found)| Some((name, found.values.remove(setting)?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaway_model::Device;

    fn key() -> SysctlKey {
        SysctlKey {
            family: Family::V6,
            scope: SysctlScope::Device(Device::Uplink),
            name: "accept_ra",
        }
    }

    fn device(name: &str, index: u32) -> DeviceInfo {
        DeviceInfo {
            index,
            name: name.to_owned(),
            peer_netns: None,
        }
    }

    #[test]
    fn the_first_value_stays_also_for_a_later_process() {
        let directory = std::env::temp_dir().join(format!("seaway-saved-{}", std::process::id()));
        let path = directory.join("saved.json");
        let (uplink, other) = (device("up.0", 7), device("other", 8));
        let mut saved = Saved::new(path.clone());
        saved.keep(&uplink, &key(), "1").expect("written");
        let mut later = Saved::new(path.clone());
        later.keep(&uplink, &key(), "2").expect("kept already");
        assert_eq!(
            later.get(&uplink, &key()).expect("read").as_deref(),
            Some("1")
        );
        // The device has another name now; there is none of the old one in the kernel.
        let renamed = device("up.1", 7);
        assert_eq!(
            later.get(&renamed, &key()).expect("read").as_deref(),
            Some("1")
        );
        let before = before_us(&path, "net/ipv6/conf/accept_ra").expect("read");
        assert_eq!(before.get("up.1").map(String::as_str), Some("1"));
        let mut given = Vec::new();
        let mut note = |path: &str, value: &str| given.push(format!("{path}={value}"));
        later.release_others(&renamed, &mut note).expect("nothing");
        later.release_others(&other, &mut note).expect("released");
        assert_eq!(given, ["net/ipv6/conf/up.1/accept_ra=1"]);
        assert_eq!(
            before_us(&path, "net/ipv6/conf/accept_ra")
                .expect("read")
                .len(),
            0
        );
        fs::remove_dir_all(directory).expect("removed");
    }
}
