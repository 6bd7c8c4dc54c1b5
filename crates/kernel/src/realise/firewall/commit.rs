//! Transactions that survive single wrong rows: what the kernel refuses is named and left out, and
//! the rest is in force all the same.

use std::collections::HashSet;

use seaway_model::Row;

use super::sets::TABLE;
use crate::error::KernelError;
use crate::nft::{Answer, Item, Nft, Refusal};
use crate::realise::RowFailure;

/// How often a transaction is tried without what was refused. Each round leaves out all that the
/// kernel named; it names every wrong message of a round.
const ROUNDS: usize = 8;
/// Elements of a transaction.
const TRANSACTION: usize = 20_000;

/// A row by which a failure is named.
pub(super) trait Subject {
    fn failure(&self, errno: i32, what: &str) -> RowFailure;
}

impl<R: Row> Subject for R {
    fn failure(&self, errno: i32, what: &str) -> RowFailure {
        let source = std::io::Error::from_raw_os_error(errno);
        let error = KernelError::new("commit to nftables:", what.to_owned(), source);
        RowFailure::of(R::TABLE, &self.key(), &error)
    }
}

/// What is to be done, each item for a row.
#[derive(Default)]
pub(super) struct Plan<'a> {
    items: Vec<Item>,
    subjects: Vec<&'a dyn Subject>,
}

impl<'a> Plan<'a> {
    pub(super) fn push(&mut self, subject: &'a dyn Subject, item: Item) {
        self.items.push(item);
        self.subjects.push(subject);
    }

    pub(super) fn extend(
        &mut self,
        subject: &'a dyn Subject,
        items: impl IntoIterator<Item = Item>,
    ) {
        items.into_iter().for_each(|item| self.push(subject, item));
    }

    /// Whether it is enough for a transaction of its own: the kernel's locks are held for as long as
    /// one takes, and its memory is what all of it needs.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= TRANSACTION
    }

    /// Carries it all out, as one transaction if the kernel refuses nothing.
    pub(super) fn carry_out(mut self, nft: &mut Nft, failures: &mut Vec<RowFailure>) {
        let mut one_each = false;
        for _ in 0..ROUNDS {
            match nft.commit(TABLE, &self.items, one_each) {
                Ok(Answer::Done) => return,
                Ok(Answer::Refused(refusals)) => {
                    let precise = refusals.iter().all(|r| r.items.len() == 1);
                    if one_each || precise {
                        self.without(refusals, failures);
                    }
                    one_each = true;
                }
                Err(error) => {
                    self.fail_all(error.errno().unwrap_or(libc::EIO), failures);
                    return;
                }
            }
        }
        self.fail_all(libc::EAGAIN, failures);
    }

    /// Drops what was refused, with all else that its rows asked for. What is gone already need
    /// not be removed; what leads elsewhere is removed first.
    fn without(&mut self, refusals: Vec<Refusal>, failures: &mut Vec<RowFailure>) {
        let mut wrong: Vec<(*const (), RowFailure)> = Vec::new();
        let mut items: Vec<Vec<Item>> = std::mem::take(&mut self.items)
            .into_iter()
            .map(|item| vec![item])
            .collect();
        for refusal in refusals {
            let at = refusal.items.start;
            match (&items[at][..], refusal.errno) {
                ([Item::Remove(_)], libc::ENOENT) => items[at].clear(),
                ([Item::Replace(element)], libc::EEXIST | libc::EBUSY) => {
                    let element = element.clone();
                    items[at] = vec![Item::Remove(element.clone()), Item::Add(element)];
                }
                _ => {
                    let subject = self.subjects[at];
                    let failure = subject.failure(refusal.errno, &refusal.what);
                    wrong.push((identity(subject), failure));
                }
            }
        }
        // There may be as many as there are items: that of a set that could not be made, for one.
        let mut out: HashSet<*const ()> = HashSet::new();
        for (id, failure) in wrong {
            if out.insert(id) {
                failures.push(failure);
            }
        }
        let subjects = std::mem::take(&mut self.subjects);
        for (subject, items) in subjects.into_iter().zip(items) {
            if !out.contains(&identity(subject)) {
                self.extend(subject, items);
            }
        }
    }

    fn fail_all(self, errno: i32, failures: &mut Vec<RowFailure>) {
        let mut last = std::ptr::null();
        for subject in self.subjects {
            if identity(subject) != last {
                last = identity(subject);
                failures.push(subject.failure(errno, "all of the transaction"));
            }
        }
    }
}

fn identity(subject: &dyn Subject) -> *const () {
    std::ptr::from_ref(subject).cast()
}
