//! Who manages what, as objects keep it: few bytes an object, since objects of one origin share what
//! is said of them.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::Set;

/// Who writes: one claim of an object has each identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity {
    /// Whether it applies, or else updates.
    pub(crate) applies: bool,
    /// Its name.
    pub(crate) manager: Box<str>,
    /// The version of the API that it spoke last.
    pub(crate) api_version: Box<str>,
    /// The part of the object that it writes, such as `status`.
    pub(crate) subresource: Box<str>,
}

impl Identity {
    /// Whether both are one manager: an applier may go on in another version.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.applies == other.applies
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.applies || self.api_version == other.api_version)
    }
}

/// An identity and its fields, the latter as text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Claim {
    identity: Identity,
    fields: Box<str>,
}

/// One entry of an object's managers.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    claim: Arc<Claim>,
    /// Seconds since 1970; absent in entries that a client made up.
    time: Option<i64>,
}

/// The managers of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Managers(Option<Arc<[Entry]>>);

/// One manager, taken apart to be worked with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Manager {
    pub(super) identity: Identity,
    pub(super) fields: Set,
    pub(super) time: Option<i64>,
    /// What is kept of it, as long as identity and fields stay what they were.
    kept: Option<Arc<Claim>>,
}

impl Manager {
    /// A manager that was not there before.
    pub(super) fn new(identity: Identity, fields: Set, time: Option<i64>) -> Self {
        Self {
            identity,
            fields,
            time,
            kept: None,
        }
    }

    pub(super) fn add(&mut self, more: &Set) {
        if self.fields.add(more) {
            self.kept = None;
        }
    }

    pub(super) fn subtract(&mut self, less: &Set) {
        if self.fields.subtract(less) {
            self.kept = None;
        }
    }
}

/// Claims that objects share. Those that nobody has any more go when what is kept here has doubled
/// since the last time.
#[derive(Default)]
struct Shared {
    claims: HashSet<Arc<Claim>>,
    /// What the claims take, in bytes.
    size: usize,
    /// What they took after the last sweep.
    swept: usize,
}

/// What may be kept before it is swept at all, in bytes.
const FIRST_SWEEP: usize = 1 << 20;
/// Larger claims than this are rarely those of many objects and are not shared, in bytes.
const LARGEST_SHARED: usize = 4 << 10;

static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);

impl Claim {
    /// What it takes, in bytes.
    fn size(&self) -> usize {
        let Identity {
            applies: _,
            manager,
            api_version,
            subresource,
        } = &self.identity;
        let texts = [manager, api_version, subresource, &self.fields];
        texts.iter().map(|text| text.len()).sum::<usize>() + 128
    }
}

impl Shared {
    fn share(&mut self, claim: Claim) -> Arc<Claim> {
        let size = claim.size();
        if size > LARGEST_SHARED {
            return Arc::new(claim);
        }
        if let Some(known) = self.claims.get(&claim) {
            return Arc::clone(known);
        }
        if self.size + size > FIRST_SWEEP.max(2 * self.swept) {
            self.sweep();
        }
        let claim = Arc::new(claim);
        self.claims.insert(Arc::clone(&claim));
        self.size += size;
        claim
    }

    fn sweep(&mut self) {
        self.claims.retain(|claim| Arc::strong_count(claim) > 1);
        self.size = self.claims.iter().map(|claim| claim.size()).sum();
        self.swept = self.size;
    }
}

fn share(claim: Claim) -> Arc<Claim> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.share(claim)
}

impl Managers {
    /// Whether nobody manages anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn entries(&self) -> &[Entry] {
        self.0.as_deref().unwrap_or(&[])
    }

    /// Whether both say the same, whenever it was said.
    pub(crate) fn say_as(&self, other: &Self) -> bool {
        let claims = |managers: &Self| {
            let mut claims: Vec<Arc<Claim>> = managers
                .entries()
                .iter()
                .map(|entry| Arc::clone(&entry.claim))
                .collect();
            // Times decide on the order of entries.
            claims.sort_by(|a, b| {
                let fields = || a.fields.cmp(&b.fields);
                a.identity.cmp(&b.identity).then_with(fields)
            });
            claims
        };
        self.entries().len() == other.entries().len() && claims(self) == claims(other)
    }

    /// How many bytes the managers say; more than they cost where objects share them.
    pub(crate) fn size(&self) -> usize {
        self.entries().iter().map(|entry| entry.claim.size()).sum()
    }

    pub(super) fn open(&self) -> Vec<Manager> {
        let open = |entry: &Entry| Manager {
            identity: entry.claim.identity.clone(),
            fields: serde_json::from_str(&entry.claim.fields)
                .expect("the text was written by this module"),
            time: entry.time,
            kept: Some(Arc::clone(&entry.claim)),
        };
        self.entries().iter().map(open).collect()
    }

    /// Managers in upstream's order: appliers first, older entries before newer ones.
    pub(super) fn close(mut managers: Vec<Manager>) -> Self {
        managers.retain(|manager| !manager.fields.is_empty());
        if managers.is_empty() {
            return Self::default();
        }
        managers.sort_by(|a, b| {
            let place = |one: &Manager| (!one.identity.applies, one.time);
            place(a)
                .cmp(&place(b))
                .then_with(|| a.identity.cmp(&b.identity))
        });
        let entry = |manager: Manager| Entry {
            claim: manager.kept.unwrap_or_else(|| {
                let mut fields = String::new();
                manager.fields.write(&mut fields);
                share(Claim {
                    identity: manager.identity,
                    fields: fields.into(),
                })
            }),
            time: manager.time,
        };
        Self(Some(managers.into_iter().map(entry).collect()))
    }

    /// Writes the JSON of `metadata.managedFields`.
    pub(crate) fn write(&self, json: &mut Vec<u8>) {
        json.push(b'[');
        for (index, entry) in self.entries().iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            let Claim { identity, fields } = entry.claim.as_ref();
            let operation = match identity.applies {
                true => "Apply",
                false => "Update",
            };
            let mut head = json!({
                "manager": identity.manager,
                "operation": operation,
                "apiVersion": identity.api_version,
                "fieldsType": "FieldsV1",
            });
            if let Some(time) = entry
                .time
                .and_then(|time| Timestamp::from_second(time).ok())
            {
                head["time"] = crate::lifecycle::seconds(time).into();
            }
            if !identity.subresource.is_empty() {
                head["subresource"] = identity.subresource.as_ref().into();
            }
            let head = head.to_string();
            json.extend_from_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
            json.extend_from_slice(b",\"fieldsV1\":");
            json.extend_from_slice(fields.as_bytes());
            json.push(b'}');
        }
        json.push(b']');
    }

    /// The value of `metadata.managedFields`.
    pub(crate) fn value(&self) -> Value {
        let mut json = Vec::new();
        self.write(&mut json);
        serde_json::from_slice(&json).unwrap_or_default()
    }

    /// Reads `metadata.managedFields` as a client gives it.
    pub(super) fn read(given: &Value) -> Result<Vec<Manager>, String> {
        let entries = given.as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().map(read_entry).collect()
    }
}

fn read_entry(entry: &Value) -> Result<Manager, String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("");
    let applies = match text("operation") {
        "Apply" => true,
        "Update" => false,
        other => return Err(format!("operation {other:?} is neither Apply nor Update")),
    };
    if text("fieldsType") != "FieldsV1" {
        return Err(format!(
            "fieldsType {:?} is not FieldsV1",
            text("fieldsType")
        ));
    }
    let time = text("time").parse::<Timestamp>().ok();
    let fields = entry.get("fieldsV1").filter(|fields| !fields.is_null());
    let fields = fields.map_or_else(|| Ok(Set::default()), Set::read)?;
    let identity = Identity {
        applies,
        manager: text("manager").into(),
        api_version: text("apiVersion").into(),
        subresource: text("subresource").into(),
    };
    Ok(Manager::new(
        identity,
        fields,
        time.map(Timestamp::as_second),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_written_alike_and_shared() {
        let given = json!([
            {"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
             "time": "2026-11-28T06:00:00Z", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "subresource": "status",
             "fieldsType": "FieldsV1", "time": "2026-11-28T05:00:00Z",
             "fieldsV1": {"f:status": {"f:phase": {}}}},
        ]);
        let managers = Managers::close(Managers::read(&given).unwrap());
        assert_eq!(managers.value(), given);
        let again = Managers::close(managers.open());
        assert_eq!(again, managers);
        let claims = |managers: &Managers| Arc::clone(&managers.entries()[0].claim);
        assert!(Arc::ptr_eq(&claims(&again), &claims(&managers)));
        assert!(Managers::close(Vec::new()).is_empty());
    }

    #[test]
    fn times_do_not_change_what_is_said() {
        let entry = |manager: &str, day: u8, field: &str| {
            json!({"manager": manager, "operation": "Apply", "apiVersion": "v1",
                "fieldsType": "FieldsV1", "time": format!("2026-11-{day}T06:00:00Z"),
                "fieldsV1": {field: {}}})
        };
        let managers = |entries: [Value; 2]| {
            let entries = Value::Array(entries.into());
            Managers::close(Managers::read(&entries).unwrap())
        };
        let before = managers([entry("a", 10, "f:x"), entry("b", 11, "f:y")]);
        let later = managers([entry("a", 12, "f:x"), entry("b", 11, "f:y")]);
        assert_ne!(before, later);
        assert!(before.say_as(&later));
        let more = managers([entry("a", 10, "f:z"), entry("b", 11, "f:y")]);
        assert!(!before.say_as(&more));
        assert!(!before.say_as(&Managers::default()));
    }

    fn claim(manager: String, fields: String) -> Claim {
        let identity = Identity {
            applies: false,
            manager: manager.into(),
            api_version: "v1".into(),
            subresource: "".into(),
        };
        let fields = fields.into();
        Claim { identity, fields }
    }

    #[test]
    fn claims_that_nobody_has_take_little() {
        let mut shared = Shared::default();
        let kept = shared.share(claim("kept".into(), "{}".into()));
        for large in 0..50 {
            let text = format!("{large}{}", "x".repeat(200_000));
            for claim in [claim("a".into(), text.clone()), claim(text, "{}".into())] {
                assert_eq!(Arc::strong_count(&shared.share(claim)), 1);
            }
        }
        assert_eq!(shared.claims.len(), 1);
        for small in 0..2000 {
            shared.share(claim("a".into(), format!("{small:03000}")));
            assert!(shared.size <= FIRST_SWEEP);
        }
        let again = shared.share(claim("kept".into(), "{}".into()));
        assert!(Arc::ptr_eq(&kept, &again));
    }

    #[test]
    fn claims_in_use_are_not_swept_for_each_new_one() {
        let mut shared = Shared::default();
        let mut kept = Vec::new();
        let mut sweeps = 0;
        for number in 0..10_000 {
            let before = shared.swept;
            kept.push(shared.share(claim("a".into(), format!("{number:01000}"))));
            sweeps += usize::from(shared.swept != before);
        }
        assert_eq!(shared.claims.len(), kept.len());
        assert!((1..=5).contains(&sweeps), "{sweeps}");
    }

    #[test]
    fn the_name_of_a_manager_counts_as_what_it_manages() {
        let given = json!([{"manager": "m".repeat(100_000), "operation": "Update",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}}]);
        let managers = Managers::close(Managers::read(&given).unwrap());
        assert!(managers.size() > 100_000);
    }

    #[test]
    fn entries_that_make_no_sense_are_refused() {
        let good = json!({"manager": "a", "operation": "Update", "fieldsType": "FieldsV1"});
        assert!(Managers::read(&json!([good])).is_ok());
        for (name, value) in [
            ("operation", json!("Patch")),
            ("fieldsType", json!("FieldsV2")),
            ("fieldsV1", json!({"data": {}})),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(Managers::read(&json!([bad])).is_err(), "{name}");
        }
    }
}
