//! How much may be under way at once: in all, and for each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Admission {
    all: usize,
    each: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// The right to be under way, as long as it is held.
#[derive(Debug)]
pub(super) struct Pass {
    admission: Arc<Admission>,
    client: IpAddr,
}

impl Admission {
    pub(super) fn new(all: usize, each: usize) -> Arc<Admission> {
        Arc::new(Admission {
            all,
            each,
            held: Mutex::default(),
        })
    }

    pub(super) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Pass> {
        let mut held = self.lock();
        let own = held.each.get(&client).copied().unwrap_or(0);
        if held.all >= self.all || own >= self.each {
            return None;
        }
        held.all += 1;
        held.each.insert(client, own + 1);
        drop(held);
        Some(Pass {
            admission: self.clone(),
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in there panics half-way.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut held = self.admission.lock();
        held.all -= 1;
        if let Some(own) = held.each.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                held.each.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_room_for_others() {
        let admission = Admission::new(3, 2);
        let client = |n: u8| IpAddr::from([10, 0, 0, n]);
        let first = [admission.enter(client(1)), admission.enter(client(1))];
        assert!(first.iter().all(Option::is_some));
        assert!(admission.enter(client(1)).is_none(), "its share is used up");
        let other = admission.enter(client(2));
        assert!(other.is_some());
        assert!(admission.enter(client(3)).is_none(), "all is used up");
        drop((first, other));
        assert!(admission.lock().each.is_empty());
        assert_eq!(admission.lock().all, 0);
    }
}
