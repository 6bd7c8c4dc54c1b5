//! Metrics: the names that people alert on since kube-proxy (S44), and Seaway's own. Those that
//! are counted as things happen live with what they count; the rest is read when somebody asks.

use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use seaway_dns::Outcome;

use crate::shared::Shared;
use crate::state::State;

/// What Prometheus and others understand.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Label = [(&'static str, String); 1];
type Float = Gauge<f64, AtomicU64>;

/// How often something was asked for, by the answer's code.
#[derive(Debug, Default)]
pub(crate) struct Asked(Family<Label, Counter>);

impl Asked {
    pub(super) fn note(&self, status: u16) {
        self.0.get_or_create(&[("code", status.to_string())]).inc();
    }
}

/// How often the agent's health was asked for.
#[derive(Debug, Default)]
pub(crate) struct HealthAsked {
    pub(super) healthz: Asked,
    pub(super) livez: Asked,
}

/// All metrics as text.
pub(super) fn text(shared: &Shared) -> String {
    let mut registry = Registry::default();
    kube_proxy(shared, &mut registry);
    ours(shared, &mut registry);
    names(shared, &mut registry);
    process(&mut registry);
    let mut text = String::new();
    // A String takes everything.
    let _ = encode(&mut text, &registry);
    text
}

/// Registers metrics whose value is known now.
struct Now<'a>(&'a mut Registry);

impl Now<'_> {
    fn shared(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, metric);
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.shared(name, help, gauge);
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Float::default();
        gauge.set(value);
        self.shared(name, help, gauge);
    }

    /// The name goes without its ending `_total`.
    fn count(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.shared(name, help, counter);
    }

    fn gauges(&mut self, name: &str, help: &str, label: &'static str, all: &[(&str, usize)]) {
        let family = Family::<Label, Gauge>::default();
        for (key, value) in all {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            family
                .get_or_create(&[(label, (*key).to_owned())])
                .set(value);
        }
        self.shared(name, help, family);
    }

    fn counts(&mut self, name: &str, help: &str, label: &'static str, all: &[(&str, u64)]) {
        let family = Family::<Label, Counter>::default();
        for (key, value) in all {
            family
                .get_or_create(&[(label, (*key).to_owned())])
                .inc_by(*value);
        }
        self.shared(name, help, family);
    }
}

/// The names of kube-proxy.
fn kube_proxy(shared: &Shared, registry: &mut Registry) {
    let mut now = Now(registry);
    let programming = &shared.programming;
    let account = programming.account(Instant::now());
    now.shared(
        "kubeproxy_network_programming_duration_seconds",
        "From a change of endpoints in the cluster until it is in force on this node",
        programming.network_seconds.clone(),
    );
    now.shared(
        "kubeproxy_sync_proxy_rules_duration_seconds",
        "From taking a change in until it is in force",
        programming.sync_seconds.clone(),
    );
    let at = |time: Option<SystemTime>| {
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.unwrap_or_default().as_secs_f64()
    };
    now.seconds(
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
        "When something came into force last",
        at(account.updated),
    );
    now.seconds(
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
        "When something was told last",
        at(account.queued),
    );
    for (what, pending, total) in [
        ("endpoint", account.pending.slices, account.total.slices),
        ("service", account.pending.services, account.total.services),
    ] {
        let name = format!("kubeproxy_sync_proxy_rules_{what}_changes");
        let pending = usize::try_from(pending).unwrap_or(usize::MAX);
        now.gauge(&format!("{name}_pending"), "Changes that wait", pending);
        now.count(&name, "Changes since the start", total);
    }
    now.shared(
        "kubeproxy_sync_proxy_rules_nftables_sync_failures",
        "Changes that the kernel refused",
        programming.failed.clone(),
    );
    let planned = shared.lock().planner.programming();
    now.gauges(
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
        "Services with policy Local and endpoints, of which none is on this node",
        "traffic_policy",
        &[
            ("internal", planned.no_local_internal),
            ("external", planned.no_local_external),
        ],
    );
    now.shared(
        "kubeproxy_conntrack_reconciler_sync_duration_seconds",
        "How long it takes to compare UDP flows with Services",
        shared.flows.seconds.clone(),
    );
    now.shared(
        "kubeproxy_conntrack_reconciler_deleted_entries",
        "UDP flows forgotten because somebody else answers now",
        shared.flows.forgotten.clone(),
    );
    for (what, asked) in [
        ("healthz", &shared.asked.healthz),
        ("livez", &shared.asked.livez),
    ] {
        let name = format!("kubeproxy_proxy_{what}");
        now.shared(
            &name,
            "How often it was asked for, by code",
            asked.0.clone(),
        );
    }
}

/// Seaway's own.
fn ours(shared: &Shared, registry: &mut Registry) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    registry.register("seaway_build", "The agent's version", Info::new(version));
    let mut now = Now(registry);
    match shared.with_node(|node| node.drops()) {
        Ok(Ok(drops)) => {
            let drops: Vec<(&str, u64)> = drops
                .iter()
                .map(|(reason, packets)| (reason.as_str(), *packets))
                .collect();
            now.counts(
                "seaway_drops",
                "Packets that the filters dropped",
                "reason",
                &drops,
            );
        }
        Ok(Err(error)) | Err(error) => tracing::debug!(%error, "drops are not known"),
    }
    let state = shared.lock();
    now.gauges(
        "seaway_rows",
        "Rows that are planned",
        "table",
        &state.planner.rows().counts(),
    );
    now.count(
        "seaway_repairs",
        "Rows repaired since the start",
        state.repairs,
    );
    now.gauge(
        "seaway_row_failures",
        "Rows that are not in force",
        state.failures.len(),
    );
    let ready = usize::from(state.unready().is_none());
    now.gauge("seaway_ready", "Whether a Pod could be attached now", ready);
    now.gauge(
        "seaway_attachments",
        "Pod interfaces of this node",
        state.records.len(),
    );
    now.gauge(
        "seaway_dying_links",
        "Deleted links that wait for the kernel",
        state.dying.len(),
    );
    now.gauge(
        "seaway_nodes",
        "Nodes of the cluster",
        state.planner.nodes().len(),
    );
    let planned = state.planner.programming();
    now.gauge(
        "seaway_services",
        "Services that are balanced here",
        planned.services,
    );
    now.gauge("seaway_endpoints", "Their endpoints", planned.endpoints);
    source(&state, &mut now);
}

fn source(state: &State, now: &mut Now<'_>) {
    let seconds = state
        .source_problem
        .as_ref()
        .map_or(0.0, |problem| problem.since.elapsed().as_secs_f64());
    now.seconds(
        "seaway_source_problem_seconds",
        "For how long something has been wrong with the cluster's API or file",
        seconds,
    );
    let audit = state.compared.map(|compared| compared.took.as_secs_f64());
    now.seconds(
        "seaway_comparison_seconds",
        "How long the last comparison of the kernel with the plan took",
        audit.unwrap_or_default(),
    );
}

/// How names are answered, where they are.
fn names(shared: &Shared, registry: &mut Registry) {
    let Some(names) = shared.names.get() else {
        return;
    };
    let mut now = Now(registry);
    let counts = names.counts();
    let codes = Outcome::ALL.map(Outcome::name);
    let by_code = |values: [u64; Outcome::ALL.len()]| codes.into_iter().zip(values).collect();
    let cluster: Vec<(&str, u64)> = by_code(counts.cluster);
    let forward: Vec<(&str, u64)> = by_code(counts.forward);
    now.counts(
        "seaway_dns_answers",
        "Answers that were known here: the cluster's names, and refusals",
        "code",
        &cluster,
    );
    now.counts(
        "seaway_dns_forwarded_answers",
        "Answers about names that other servers know",
        "code",
        &forward,
    );
    for (name, help, value) in [
        (
            "hits",
            "Other names answered from the cache",
            counts.cache_hits,
        ),
        (
            "misses",
            "Other names that had to be asked for",
            counts.cache_misses,
        ),
        (
            "stale",
            "Other names answered by what is too old",
            counts.stale_answers,
        ),
    ] {
        now.count(&format!("seaway_dns_cache_{name}"), help, value);
    }
    now.count(
        "seaway_dns_forward_failures",
        "Attempts to ask another server that failed",
        counts.forward_failures,
    );
    now.count(
        "seaway_dns_spoofed",
        "Messages of other servers that answered nothing that had been asked",
        counts.spoofed,
    );
    now.count(
        "seaway_dns_over_limit",
        "Questions refused because too many were waiting",
        counts.over_limit,
    );
}

/// What every exporter tells of its process.
fn process(registry: &mut Registry) {
    let mut now = Now(registry);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        let value = line.strip_prefix("VmRSS:")?.trim();
        value.strip_suffix("kB")?.trim().parse::<usize>().ok()
    });
    now.gauge(
        "process_resident_memory_bytes",
        "Resident memory",
        kib.unwrap_or_default() * 1024,
    );
    let used = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let used = used.map(std::time::Duration::from).unwrap_or_default();
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(used.as_secs_f64());
    now.shared("process_cpu_seconds", "Processor time used", cpu);
}
