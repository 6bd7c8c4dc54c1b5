//! From a request to an answer: who may ask, what is asked, and which handler does it.
//!
//! Handlers are synchronous over the store; only bodies and log files are awaited, here.

mod access;
mod apply;
mod author;
mod bootstrap;
mod create;
mod delete;
mod holdings;
mod list;
mod reviews;
mod subresource;
mod tokens;
mod update;
pub(crate) mod wrap;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response};
use jiff::Timestamp;
use serde_json::Value;
use tracing::{debug, error};

use crate::audit::{self, Entry};
use crate::auth::{self, User};
use crate::http::{self, Body, ContentType, Query, Route, Shape, Target};
use crate::kinds::{Kind, Served};
use crate::reviews::Review;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Key, Object};
use crate::{discovery, exec, logs, openapi};

pub(crate) use bootstrap::{First, bootstrap};
pub(crate) use delete::{Wish, remove};
pub(crate) use update::{Edit, modify};
pub(crate) use wrap::encode;

pub(crate) type Answer = Result<Response<Body>, ApiError>;

/// A request for objects.
pub(crate) struct Call {
    pub(crate) server: Arc<Server>,
    pub(crate) user: Arc<User>,
    pub(crate) method: Method,
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) query: Query,
    pub(crate) shape: Shape,
    pub(crate) content: ContentType,
    pub(crate) body: Bytes,
    pub(crate) dry: bool,
    pub(crate) now: Timestamp,
    /// What the client calls itself.
    pub(crate) agent: String,
}

impl Call {
    /// The key of the object that the path names.
    pub(crate) fn key(&self) -> Key {
        Key::new(
            self.namespace.as_deref().unwrap_or(""),
            self.name.as_deref().unwrap_or(""),
        )
    }

    /// The object that the path names.
    pub(crate) fn object(&self) -> Result<Arc<Object>, ApiError> {
        let key = self.key();
        self.server
            .store
            .get(self.kind, &key)
            .ok_or_else(|| ApiError::not_found(self.kind, &key.name))
    }

    /// An object as the client wants to see it.
    pub(crate) fn show(&self, code: u16, object: &Object) -> Answer {
        let include = wrap::include(&self.query)?;
        let bytes = encode(self.kind, object, self.shape, include, self.now);
        if self.query.flag("pretty") == Some(true)
            && let Ok(value) = serde_json::from_slice::<Value>(&bytes)
            && let Ok(pretty) = serde_json::to_vec_pretty(&value)
        {
            return Ok(http::json_bytes(code, pretty.into()));
        }
        Ok(http::json_bytes(code, bytes))
    }
}

/// Answers one request, whatever happens.
pub(crate) async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Response<Body> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let outcome = AssertUnwindSafe(handle(server, request))
        .catch_unwind()
        .await;
    let response = match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => http::error(&failure),
        Err(_) => {
            error!(%method, path, "a request handler panicked");
            http::error(&ApiError::internal("the request handler failed"))
        }
    };
    debug!(%method, path, status = response.status().as_u16(), "request answered");
    response
}

async fn handle(server: Arc<Server>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let served = server.store.kinds();
    let route = http::route(&served, head.uri.path());
    let read = matches!(head.method, Method::GET);
    match &route {
        Route::Health if read => return Ok(http::plain("text/plain", "ok")),
        Route::Version if read => return Ok(http::json(200, &discovery::version())),
        _ => {}
    }
    let user = server.tokens.user(&head.headers, &server.store)?;
    let user = auth::impersonated(&user, &head.headers, &server.rbac, &server.store)?;
    if !matches!(route, Route::Resource(_) | Route::Review(..)) {
        access::to_path(&server, &user, &head.method, head.uri.path())?;
    }
    let target = match route {
        Route::Resource(target) => target,
        Route::Review(review, namespace) => {
            return review_of(&server, &user, (review, namespace), head, body).await;
        }
        Route::Unknown => return Err(ApiError::no_route()),
        _ if !read => return Err(ApiError::method_not_allowed()),
        other => return documents(&served, &other, &head.headers),
    };
    let query = Query::parse(head.uri.query().unwrap_or(""));
    let audited = server.audit.as_ref();
    let audited =
        audited.map(|audit| (audit, Entry::new(&user.name, &head.method, &target, &query)));
    let answer = match access::to_objects(&server, &user, &head.method, &target, &query) {
        Ok(()) => objects(&server, user, head, body, target, query).await,
        Err(refused) => Err(refused),
    };
    if let Some((audit, entry)) = audited {
        let code = match &answer {
            Ok(response) => response.status().as_u16(),
            Err(failure) => failure.code,
        };
        audit.tell(&entry, code);
    }
    answer
}

/// A review: it is answered and not kept.
async fn review_of(
    server: &Server,
    user: &User,
    (review, namespace): (&'static Review, Option<String>),
    head: Parts,
    body: Incoming,
) -> Answer {
    if head.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let namespace = namespace.as_deref().unwrap_or("");
    access::to_review(server, user, review, namespace)?;
    let _permit = permit(server)?;
    let bytes = http::read_body(body, &server.limits).await?;
    let given = http::decode_object(http::content_type(&head.headers), &bytes)?;
    reviews::answer(server, user, review, namespace, given)
}

/// It bounds how much memory requests can hold at once; watches and logs hold little.
fn permit(server: &Server) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
    server
        .requests
        .try_acquire()
        .map_err(|_| ApiError::too_many("the server is busy with other requests; try again"))
}

async fn objects(
    server: &Arc<Server>,
    user: Arc<User>,
    mut head: Parts,
    body: Incoming,
    target: Target,
    query: Query,
) -> Answer {
    let read = matches!(head.method, Method::GET);
    let dry = dry_run(&query)?;
    let session = exec::is_meant(&target);
    let long = session || (head.method == Method::GET && is_long(&target, &query));
    let _permit = if long { None } else { Some(permit(server)?) };
    let content = http::content_type(&head.headers);
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let bytes = if read || session {
        Bytes::new()
    } else {
        http::read_body(body, &server.limits).await?
    };
    let subresource = target.subresource.clone();
    let call = Call {
        agent: author::agent(&head.headers),
        method: head.method,
        kind: target.kind,
        namespace: target.namespace,
        name: target.name,
        query,
        shape: if session || subresource.as_deref() == Some("log") {
            Shape::Object
        } else {
            http::shape(&head.headers)?
        },
        content,
        body: bytes,
        dry,
        now: Timestamp::now(),
        server: Arc::clone(server),
        user,
    };
    if session {
        return exec::answer(
            &call,
            subresource.as_deref().unwrap_or(""),
            &head.headers,
            upgrade,
        )
        .await;
    }
    let built_in = call.kind.custom.is_none();
    if subresource.as_deref() == Some("log") && call.kind.kind == "Pod" && built_in {
        return if read {
            logs::answer(&call).await
        } else {
            Err(ApiError::method_not_allowed())
        };
    }
    dispatch(&call, subresource.as_deref())
}

fn documents(served: &Served, route: &Route, headers: &hyper::HeaderMap) -> Answer {
    let aggregated = http::accepts_discovery(headers);
    let value = match route {
        Route::Core if aggregated => return Ok(discovery::aggregated(served, true)),
        Route::Groups if aggregated => return Ok(discovery::aggregated(served, false)),
        Route::Core => discovery::versions(),
        Route::Groups => discovery::groups(served),
        Route::Group(group) => discovery::group(served, group).ok_or_else(ApiError::no_route)?,
        Route::GroupVersion(group, version) => {
            discovery::resources(served, group, version).ok_or_else(ApiError::no_route)?
        }
        Route::OpenapiV2 if http::accepts(headers, openapi::PROTOBUF_V2) => {
            let document = openapi::protobuf_v2();
            return Ok(http::plain(openapi::PROTOBUF_V2_ANSWER, document));
        }
        Route::OpenapiV2 => openapi::document_v2(),
        Route::Openapi => openapi::index(served),
        Route::OpenapiDocument(group, version) => {
            openapi::document(served, group, version).ok_or_else(ApiError::no_route)?
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    Ok(http::json(200, &value))
}

fn dry_run(query: &Query) -> Result<bool, ApiError> {
    match query.get("dryRun") {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(ApiError::bad_request(format!(
            "dryRun={other}: the only value that is supported is All"
        ))),
    }
}

/// Whether the answer may go on for long.
fn is_long(target: &Target, query: &Query) -> bool {
    audit::is_watch(target, query) || target.subresource.as_deref() == Some("log")
}

fn dispatch(call: &Call, subresource: Option<&str>) -> Answer {
    let named = call.name.is_some();
    match (subresource, call.method.as_str(), named) {
        (None, "GET", _) if call.query.flag("watch") == Some(true) => list::watch(call),
        (None, "GET", true) => call.show(200, &*call.object()?),
        (None, "GET", false) => list::list(call),
        (None, "POST", false) => create::create(call),
        (None, "PUT", true) => update::put(call),
        (None, "PATCH", true) => update::patch(call),
        (None, "DELETE", true) => delete::one(call),
        (None, "DELETE", false) => delete::collection(call),
        (None, _, _) => Err(ApiError::method_not_allowed()),
        (Some(part), _, _) => subresource::dispatch(call, part),
    }
}
