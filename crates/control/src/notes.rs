//! Events about objects, in the words that users of Kubernetes know.

use kube::Resource;
use seaway_api::{EventNote, EventRecorder, EventType};

/// Records that something went as it should.
pub(crate) fn normal<K: Resource<DynamicType = ()>>(
    recorder: &EventRecorder,
    object: &K,
    reason: &str,
    message: String,
) {
    record(recorder, object, EventType::Normal, reason, message);
}

/// Records that somebody should look.
pub(crate) fn warning<K: Resource<DynamicType = ()>>(
    recorder: &EventRecorder,
    object: &K,
    reason: &str,
    message: String,
) {
    record(recorder, object, EventType::Warning, reason, message);
}

fn record<K: Resource<DynamicType = ()>>(
    recorder: &EventRecorder,
    object: &K,
    event_type: EventType,
    reason: &str,
    message: String,
) {
    recorder.record(EventNote {
        object: object.object_ref(&()),
        event_type,
        reason: reason.to_owned(),
        message,
    });
}
