//! Something that is handed on once. A watch keeps of an object what tells its versions apart; who
//! takes the content in keeps that, and two copies of a hundred thousand objects are one too many.

use std::sync::{Mutex, PoisonError};

/// Content that can be taken out once, whoever holds the parcel.
#[derive(Debug)]
pub struct Parcel<T>(Mutex<Option<Box<T>>>);

impl<T> Parcel<T> {
    /// A full one.
    pub fn new(content: T) -> Parcel<T> {
        Parcel(Mutex::new(Some(Box::new(content))))
    }

    /// The content, unless somebody took it before.
    pub fn take(&self) -> Option<T> {
        // Nothing panics in between.
        let mut content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        content.take().map(|content| *content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_handed_on_once() {
        let parcel = Parcel::new("content");
        assert_eq!(parcel.take(), Some("content"));
        assert_eq!(parcel.take(), None);
    }
}
