//! Authorisation: users are held to the rules of the roles that bindings give them, as RBAC of
//! Kubernetes does it. Members of `system:masters` may do everything.
//!
//! An index of all bindings (see `index`) follows the store by its logs, so that a request costs a few
//! look-ups, however many bindings there are, and sees every change that was answered before it.

mod aggregate;
mod defaults;
mod giving;
mod index;
mod rules;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use crate::auth::User;
use crate::kinds::{self, Kind};
use crate::status::ApiError;
use crate::store::{At, Batch, EventType, Store};

pub(crate) use aggregate::aggregate;
pub(crate) use defaults::defaults;
pub(crate) use giving::may_give;
pub(crate) use index::{Index, Subject};
pub(crate) use rules::Rule;

/// The API group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
/// How much of a log is taken in one step.
const STEP: usize = 4 << 20;
/// Their resources: whether it is a role, whether it is in namespaces.
const SHELVES: [(&str, bool, bool); 4] = [
    ("clusterroles", true, false),
    ("roles", true, true),
    ("clusterrolebindings", false, false),
    ("rolebindings", false, true),
];

/// What somebody asks to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The verb, as roles name it.
    pub(crate) verb: &'a str,
    pub(crate) on: On<'a>,
}

/// To what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On<'a> {
    Object(Thing<'a>),
    /// A path that leads to no objects.
    Path(&'a str),
}

/// An object, objects, or a part of an object; empty texts for what is not said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Thing<'a> {
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    /// The subresource.
    pub(crate) part: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// What became of an [`Ask`], and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

impl<'a> Ask<'a> {
    /// Something of an object, in words of roles.
    pub(crate) fn on(verb: &'a str, thing: Thing<'a>) -> Self {
        let on = On::Object(thing);
        Self { verb, on }
    }

    fn namespace(&self) -> &'a str {
        match self.on {
            On::Object(thing) => thing.namespace,
            On::Path(_) => "",
        }
    }

    /// What a user hears who may not.
    fn told(&self, user: &str) -> String {
        let verb = self.verb;
        let thing = match self.on {
            On::Path(path) => return format!("User {user:?} cannot {verb} path {path:?}"),
            On::Object(thing) => thing,
        };
        let resource = match thing.part {
            "" => thing.resource.to_owned(),
            part => format!("{}/{part}", thing.resource),
        };
        let place = match thing.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
            thing.group
        )
    }

    /// The refusal.
    fn refused(&self, user: &User, reason: &str) -> ApiError {
        let mut why = self.told(&user.name);
        if !reason.is_empty() {
            why = format!("{why}: {reason}");
        }
        match self.on {
            On::Path(_) => ApiError::forbidden_path(&why),
            On::Object(thing) => {
                ApiError::forbidden_resource((thing.group, thing.resource), thing.name, &why)
            }
        }
    }
}

/// The index and how far it has followed the store.
pub(crate) struct Rbac {
    state: RwLock<State>,
    /// The newest change of each shelf.
    newest: [watch::Receiver<u64>; 4],
}

struct State {
    index: Index,
    /// Up to where each shelf is in the index; nothing if not at all.
    cursors: [Option<u64>; 4],
}

fn shelf((plural, ..): (&str, bool, bool)) -> &'static Kind {
    kinds::find(GROUP, "v1", plural).expect("roles and bindings are built in")
}

impl Rbac {
    /// What follows a store.
    pub(crate) fn new(store: &Store) -> Self {
        let index = Index::default();
        let cursors = [None; 4];
        Self {
            state: RwLock::new(State { index, cursors }),
            newest: SHELVES.map(|of| store.subscribe(shelf(of))),
        }
    }

    /// Passes what a user may do, and refuses the rest.
    pub(crate) fn authorise(
        &self,
        store: &Store,
        user: &User,
        ask: &Ask<'_>,
    ) -> Result<(), ApiError> {
        if user.is_master() {
            return Ok(());
        }
        let verdict = self.judge(store, user, ask, false);
        match verdict.allowed {
            true => Ok(()),
            false => Err(ask.refused(user, &verdict.reason)),
        }
    }

    /// Whether a user may do something, and why.
    pub(crate) fn explain(&self, store: &Store, user: &User, ask: &Ask<'_>) -> Verdict {
        self.judge(store, user, ask, true)
    }

    fn judge(&self, store: &Store, user: &User, ask: &Ask<'_>, explained: bool) -> Verdict {
        let state = self.current(store);
        let (mut allowed, mut reason) = (user.is_master(), String::new());
        let missing =
            state
                .index
                .visit(&user.name, &user.groups, ask.namespace(), |grant, rule| {
                    if rule.allows(ask) {
                        allowed = true;
                        if explained {
                            reason = told(grant);
                        }
                    }
                    allowed
                });
        if !allowed && !missing.is_empty() {
            let named = missing.iter().map(|role| {
                let plural = match role.namespace.is_empty() {
                    true => "clusterrole",
                    false => "role",
                };
                format!("{plural}.{GROUP} {:?} not found", role.name)
            });
            let named: Vec<String> = named.take(16).collect();
            reason = match named.as_slice() {
                [one] => format!("RBAC: {one}"),
                many => format!("RBAC: [{}]", many.join(", ")),
            };
        }
        Verdict { allowed, reason }
    }

    /// The rules that a user has in a namespace, without repetition.
    pub(crate) fn rules_of(&self, store: &Store, user: &User, namespace: &str) -> Vec<Rule> {
        let state = self.current(store);
        let mut found: Vec<Rule> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        state
            .index
            .visit(&user.name, &user.groups, namespace, |grant, rule| {
                if seen.insert((grant.role, std::ptr::from_ref(rule))) {
                    found.push(rule.clone());
                }
                false
            });
        found
    }

    /// The index, with everything in it that was answered before.
    pub(crate) fn index<T>(&self, store: &Store, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.current(store).index)
    }

    fn current(&self, store: &Store) -> Reading<'_> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if !self.is_behind(&state) {
            return Reading(state);
        }
        drop(state);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_behind(&state) {
            for (at, of) in SHELVES.into_iter().enumerate() {
                state.follow(store, at, of);
            }
        }
        drop(state);
        Reading(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_behind(&self, state: &State) -> bool {
        (self.newest.iter().zip(&state.cursors))
            .any(|(newest, cursor)| cursor.is_none_or(|cursor| cursor < *newest.borrow()))
    }
}

/// The index while it is looked at.
struct Reading<'a>(RwLockReadGuard<'a, State>);

impl std::ops::Deref for Reading<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl State {
    /// Takes what changed on a shelf.
    fn follow(&mut self, store: &Store, at: usize, of: (&str, bool, bool)) {
        let kind = shelf(of);
        let (_, is_role, namespaced) = of;
        while let Some(cursor) = self.cursors[at] {
            let Batch::Events(events, next) = store.changes(kind, cursor, STEP, |_| true) else {
                break;
            };
            for event in &events {
                let (key, gone) = (&event.object.key, event.kind == EventType::Deleted);
                match (is_role, gone) {
                    (true, true) => self.index.drop_role(key),
                    (true, false) => self.index.put_role(key, &event.object.value()),
                    (false, true) => self.index.unbind(key),
                    (false, false) => self.index.bind(key, &event.object.value()),
                }
            }
            self.cursors[at] = Some(next);
            if events.is_empty() || next == cursor {
                return;
            }
        }
        // Not in the index yet, or too much has changed: all anew.
        let Ok(snapshot) = store.snapshot(kind, None, At::Latest) else {
            return;
        };
        self.index.forget(is_role, namespaced);
        for object in snapshot.objects().iter() {
            match is_role {
                true => self.index.put_role(&object.key, &object.value()),
                false => self.index.bind(&object.key, &object.value()),
            }
        }
        self.cursors[at] = Some(snapshot.revision);
    }
}

/// Why somebody may do something.
fn told(grant: &index::Grant<'_>) -> String {
    let named = |kind: &str, key: &crate::store::Key| match key.namespace.as_ref() {
        "" => format!("Cluster{kind} {:?}", key.name),
        namespace if kind == "RoleBinding" => {
            format!("{kind} \"{}/{namespace}\"", key.name)
        }
        _ => format!("{kind} {:?}", key.name),
    };
    let subject = match grant.subject {
        Subject::User(name) => match name.strip_prefix("system:serviceaccount:") {
            Some(account) => match account.split_once(':') {
                Some((namespace, name)) => format!("ServiceAccount \"{name}/{namespace}\""),
                None => format!("User {name:?}"),
            },
            None => format!("User {name:?}"),
        },
        Subject::Group(name) => format!("Group {name:?}"),
    };
    format!(
        "RBAC: allowed by {} of {} to {subject}",
        named("RoleBinding", grant.binding),
        named("Role", grant.role)
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Limits;
    use crate::store::{Change, Key};

    struct World {
        store: Store,
        rbac: Rbac,
    }

    impl World {
        fn new() -> Self {
            let store = Store::new(&Limits::default(), 1);
            let rbac = Rbac::new(&store);
            let world = Self { store, rbac };
            let namespaces = kinds::find("", "v1", "namespaces").unwrap();
            world.write(namespaces, json!({"metadata": {"name": "n", "uid": "n"}}));
            world
        }

        fn write(&self, kind: &'static Kind, value: Value) {
            let key = Key::of(kind, &value);
            let change = match self.store.get(kind, &key) {
                Some(old) => Change::Replace(old.revision),
                None => Change::Create,
            };
            let now = Timestamp::now();
            self.store.commit(kind, value, change, now, false).unwrap();
        }

        fn role(&self, name: &str, verb: &str) {
            let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]);
            let value = json!({"metadata": {"name": name, "uid": name}, "rules": rules});
            self.write(shelf(SHELVES[0]), value);
        }

        fn bind(&self, name: &str, role: &str, user: &str) {
            let value = json!({
                "metadata": {"name": name, "namespace": "n", "uid": name},
                "roleRef": {"kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": user}],
            });
            self.write(shelf(SHELVES[3]), value);
        }

        fn may(&self, user: &str, verb: &str) -> bool {
            let user = User {
                name: user.to_owned(),
                groups: vec!["system:authenticated".to_owned()],
                ..User::default()
            };
            let thing = Thing {
                resource: "pods",
                namespace: "n",
                ..Thing::default()
            };
            let ask = Ask::on(verb, thing);
            self.rbac.authorise(&self.store, &user, &ask).is_ok()
        }

        /// How long an answer takes, without what else the machine does.
        fn cost(&self) -> Duration {
            let once = || {
                let start = Instant::now();
                for _ in 0..100 {
                    assert!(self.may("u", "get") && !self.may("u", "list"));
                }
                start.elapsed() / 200
            };
            (0..50).map(|_| once()).min().expect("some rounds")
        }
    }

    #[test]
    fn the_index_follows_the_store_even_past_its_log() {
        let world = World::new();
        world.role("r", "get");
        assert!(!world.may("u", "get"));
        world.bind("b", "r", "u");
        assert!(world.may("u", "get"));
        world.role("r", "list");
        assert!(!world.may("u", "get") && world.may("u", "list"));
        // More changes than the log remembers.
        for turn in 0..=Limits::default().log_events {
            world.bind("b", "r", if turn % 2 == 0 { "v" } else { "w" });
        }
        assert!(!world.may("u", "list"));
        assert!(world.may("v", "list") != world.may("w", "list"));
    }

    #[test]
    fn what_others_may_does_not_make_an_answer_dearer() {
        let world = World::new();
        world.role("r", "get");
        world.bind("b", "r", "u");
        let few = world.cost();
        for number in 0..10_000 {
            world.bind(&format!("b{number}"), "r", &format!("u{number}"));
        }
        let many = world.cost();
        println!("an answer takes {few:?} with 1 binding and {many:?} with 10001");
        assert!(
            many < 4 * few,
            "{few:?} with 1 binding, {many:?} with 10001"
        );
    }
}
