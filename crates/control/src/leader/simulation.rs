//! The real election against a server that exists in memory only, on a clock that is played: requests
//! and answers that are late or lost, processes that stand still, clocks that differ in what they say
//! and in how fast they go.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use super::lead::{Ending, lead_by};
use super::term::Clock;
use super::{Election, Rhythm};
use crate::standing::Standing;

const ACTORS: usize = 3;
const ACT: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct World {
    random: u64,
    faults: bool,
    version: u64,
    lease: Option<Value>,
    /// How often the Lease came to somebody else, and which time was each actor's last.
    granted: usize,
    grants: [usize; ACTORS],
    /// Who sent something when, and by which grant of the Lease, in the order of sending.
    acts: Vec<Act>,
}

#[derive(Clone, Copy, Debug)]
struct Act {
    at: Instant,
    who: usize,
    grant: usize,
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    /// How long something takes, and whether it is lost.
    fn passage(&mut self) -> (Duration, bool) {
        if !self.faults {
            return (Duration::from_millis(2), false);
        }
        let slow = self.below(4) == 0;
        let most = if slow { 8_000 } else { 300 };
        (Duration::from_millis(self.below(most)), self.below(8) == 0)
    }

    fn note_holder(&mut self, lease: &Value) {
        let holder = |lease: &Value| lease["spec"]["holderIdentity"].clone();
        if self.lease.as_ref().map(holder) == Some(holder(lease)) {
            return;
        }
        let to = (0..ACTORS).find(|actor| holder(lease) == identity(*actor));
        if let Some(actor) = to {
            self.granted += 1;
            self.grants[actor] = self.granted;
        }
    }

    fn act(&mut self, who: usize) {
        let (at, grant) = (Instant::now(), self.grants[who]);
        self.acts.push(Act { at, who, grant });
    }

    fn handle(&mut self, method: &Method, body: Option<Value>) -> (StatusCode, Value) {
        let known = self
            .lease
            .as_ref()
            .map(|lease| lease["metadata"]["resourceVersion"].clone());
        let status = match (method.as_str(), &known, &body) {
            ("GET", Some(_), _) => return (StatusCode::OK, self.lease.clone().unwrap_or_default()),
            ("GET", None, _) => StatusCode::NOT_FOUND,
            ("POST", Some(_), _) => StatusCode::CONFLICT,
            ("PUT", Some(known), Some(body)) if body["metadata"]["resourceVersion"] != *known => {
                StatusCode::CONFLICT
            }
            ("PUT", None, _) => StatusCode::NOT_FOUND,
            _ => {
                let mut lease = body.unwrap_or_default();
                self.version += 1;
                lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.note_holder(&lease);
                self.lease = Some(lease.clone());
                return (StatusCode::OK, lease);
            }
        };
        let reason = match status {
            StatusCode::CONFLICT => "Conflict",
            _ => "NotFound",
        };
        (
            status,
            json!({"kind": "Status", "status": "Failure", "reason": reason,
            "message": reason, "code": status.as_u16()}),
        )
    }
}

/// One actor's way to the server.
#[derive(Clone)]
struct Way {
    world: Shared,
    actor: usize,
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Service<Request<Body>> for Way {
    type Response = Response<Body>;
    type Error = Boxed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Boxed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(answer(self.clone(), request))
    }
}

impl Way {
    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().expect("unpoisoned"))
    }

    async fn pass(&self) -> Result<(), Boxed> {
        let (time, lost) = self.with(World::passage);
        sleep(time).await;
        if lost {
            sleep(Duration::from_secs(20)).await;
            return Err("lost".into());
        }
        Ok(())
    }
}

async fn answer(way: Way, request: Request<Body>) -> Result<Response<Body>, Boxed> {
    let text = request.uri().to_string();
    if text.contains("/configmaps/") {
        let actor = way.actor;
        way.with(|world| world.act(actor));
        return respond(StatusCode::OK, &json!({"metadata": {"name": "acts"}}));
    }
    let method = request.method().clone();
    let bytes = request.into_body().collect_bytes().await?;
    let body = serde_json::from_slice(&bytes).ok();
    // What was sent arrives, whether or not its sender still waits.
    let arriving = tokio::spawn(async move {
        way.pass().await?;
        let (status, value) = match text.contains("watch=") {
            true => watched(&way, &text).await,
            false => way.with(|world| world.handle(&method, body)),
        };
        way.pass().await?;
        respond(status, &value)
    });
    arriving.await?
}

/// The next version after the one that is known.
async fn watched(way: &Way, query: &str) -> (StatusCode, Value) {
    let since = query.split("resourceVersion=").nth(1).unwrap_or_default();
    let since = since.split('&').next().unwrap_or_default().to_owned();
    loop {
        let lease = way.with(|world| world.lease.clone()).unwrap_or_default();
        if lease["metadata"]["resourceVersion"] != json!(since) {
            return (StatusCode::OK, json!({"type": "MODIFIED", "object": lease}));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn respond(status: StatusCode, value: &Value) -> Result<Response<Body>, Boxed> {
    let body = Body::from(format!("{value}\n").into_bytes());
    Ok(Response::builder().status(status).body(body)?)
}

/// A process that may stand still: nothing in it runs until it goes on.
struct Process<F> {
    inner: Pin<Box<F>>,
    still: Arc<Mutex<Instant>>,
    sleep: Pin<Box<Sleep>>,
}

impl<F: Future> Future for Process<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let until = *self.still.lock().expect("unpoisoned");
        if Instant::now() < until {
            self.sleep.as_mut().reset(until);
            if self.sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(context)
    }
}

async fn act(client: Client, _: Ending) -> Result<(), kube::Error> {
    loop {
        let request = Request::get("/api/v1/namespaces/a/configmaps/acts").body(Body::empty());
        let _refused = client.send(request.expect("a request")).await;
        sleep(ACT).await;
    }
}

fn identity(actor: usize) -> String {
    format!("actor{actor}")
}

fn start(world: &Shared, actor: usize, rate: f64, ahead: Duration) -> Arc<Mutex<Instant>> {
    let begun = Instant::now();
    let still = Arc::new(Mutex::new(begun));
    let way = Way {
        world: world.clone(),
        actor,
    };
    let clock = Clock::new(move || ahead + begun.elapsed().mul_f64(rate));
    let election = Election {
        namespace: "a".to_owned(),
        lease: "l".to_owned(),
        identity: identity(actor),
        rhythm: Rhythm::default(),
    };
    let leading = async move {
        let client = Client::new(way, "a");
        let never = std::future::pending();
        lead_by(
            clock,
            client,
            election,
            Arc::new(Standing::default()),
            never,
            act,
        )
        .await
    };
    tokio::spawn(Process {
        inner: Box::pin(leading),
        still: still.clone(),
        sleep: Box::pin(sleep(Duration::ZERO)),
    });
    still
}

/// Nobody acts any more by a Lease that another has had since and acted by. How soon that one is
/// followed is not bounded: who gets the answer late has little of its time left.
fn assert_apart(acts: &[Act], seed: u64) -> usize {
    for pair in acts.windows(2) {
        let (before, now) = (pair[0], pair[1]);
        assert!(
            now.grant >= before.grant,
            "seed {seed}: {now:?} though {before:?}"
        );
    }
    acts.windows(2)
        .filter(|pair| pair[0].who != pair[1].who)
        .count()
}

async fn play(seed: u64) -> usize {
    let world = Arc::new(Mutex::new(World {
        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        faults: true,
        version: 0,
        lease: None,
        granted: 0,
        grants: [0; ACTORS],
        acts: Vec::new(),
    }));
    let below = |limit| world.lock().expect("unpoisoned").below(limit);
    let processes: Vec<_> = (0..ACTORS)
        .map(|actor| {
            let rate = 0.85 + f64::from(u32::try_from(below(300)).expect("small")) / 1000.0;
            start(&world, actor, rate, Duration::from_secs(below(1_000_000)))
        })
        .collect();
    for _ in 0..40 {
        sleep(Duration::from_millis(below(20_000))).await;
        let actor = usize::try_from(below(3)).expect("small");
        let pause = Duration::from_millis(below(30_000));
        *processes[actor].lock().expect("unpoisoned") = Instant::now() + pause;
    }
    world.lock().expect("unpoisoned").faults = false;
    // All go on, what is on its way arrives, and what was held runs out.
    sleep(Duration::from_secs(90)).await;
    let calm = Instant::now();
    sleep(Duration::from_secs(30)).await;
    let acts = world.lock().expect("unpoisoned").acts.clone();
    let late: Vec<_> = acts.iter().filter(|act| act.at >= calm).collect();
    assert!(
        late.len() > 100,
        "seed {seed}: {} acts at the end",
        late.len()
    );
    assert!(late.iter().all(|act| act.who == late[0].who), "seed {seed}");
    assert_apart(&acts, seed)
}

#[tokio::test(start_paused = true)]
async fn never_two_act_whatever_happens_and_in_the_end_one_does() {
    let mut changes = 0;
    for seed in 1..=8 {
        changes += play(seed).await;
    }
    println!("{changes} changes of leaders");
    assert!(changes > 8, "the faults changed nothing: {changes}");
}
