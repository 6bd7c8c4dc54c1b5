//! The commands: what each needs of the Pod's namespace, and what it makes of the agent's silence.

use seaway_cni::notes::{Note, NoteError, Notes};
use seaway_cni::request::{Call, CniRequest, Request};
use seaway_cni::spec::{CniError, Endpoint, Verb, code};
use seaway_cni::wire::WireError;
use serde_json::Value;

use super::agent::{Agent, chain};
use super::output::log;
use super::pod_netns;

/// Does what the call asks; the value is what to print.
pub(crate) fn perform(request: CniRequest, call: &Call) -> Result<Option<Value>, CniError> {
    let agent = Agent::of(call);
    let request = Request::Cni(request);
    match &call.verb {
        Verb::Add(endpoint) => add(&agent, &request, call, endpoint).map(Some),
        Verb::Check(endpoint) => check(&agent, &request, call, endpoint).map(|()| None),
        Verb::Del(endpoint) => del(&agent, &request, call, endpoint).map(|()| None),
        Verb::Gc | Verb::Status => ask(&agent, &request, call).map(|_| None),
    }
}

fn add(
    agent: &Agent,
    request: &Request,
    call: &Call,
    endpoint: &Endpoint,
) -> Result<Value, CniError> {
    let netns = pod_netns::open(endpoint.netns.as_deref().unwrap_or_default())?;
    let silent = |error: WireError| agent.silent(&error, &call.verb);
    match agent.ask(request, Some(&netns)).map_err(silent)?? {
        result @ Value::Object(_) => Ok(result),
        other => Err(CniError::new(
            code::PROTOCOL,
            format!("the Seaway agent answered ADD with {other}, which is no result"),
        )),
    }
}

fn check(
    agent: &Agent,
    request: &Request,
    call: &Call,
    endpoint: &Endpoint,
) -> Result<(), CniError> {
    let netns = pod_netns::open(endpoint.netns.as_deref().unwrap_or_default())?;
    let silent = |error: WireError| agent.silent(&error, &call.verb);
    agent
        .ask(request, Some(&netns))
        .map_err(silent)?
        .map(|_| ())
}

fn ask(agent: &Agent, request: &Request, call: &Call) -> Result<Value, CniError> {
    let silent = |error: WireError| agent.silent(&error, &call.verb);
    agent.ask(request, None).map_err(silent)?
}

/// Succeeds without the agent too: then a note stays for it (K5).
fn del(agent: &Agent, request: &Request, call: &Call, endpoint: &Endpoint) -> Result<(), CniError> {
    let netns = pod_netns::open_if_there(endpoint.netns.as_deref());
    let error = match agent.ask(request, netns.as_ref()) {
        Ok(answer) => return answer.map(|_| ()),
        Err(error) => error,
    };
    let note = Note {
        id: endpoint.id.clone(),
        network: call.config.name.clone(),
    };
    let notes = Notes::beside(agent.socket());
    leave(&notes, &note, &error);
    // The agent may have come up meanwhile, and have read the notes before ours was there.
    match agent.ask(request, netns.as_ref()) {
        Ok(answer) => {
            complain(notes.remove(&note.id));
            answer.map(|_| ())
        }
        Err(_) => Ok(()),
    }
}

fn leave(notes: &Notes, note: &Note, error: &WireError) {
    let Note { id, network } = note;
    log(&format!(
        "seaway-cni: DEL of {id} in network {network}: {}; the agent will do it when it is back",
        chain(error)
    ));
    complain(notes.write(note));
}

fn complain(result: Result<(), NoteError>) {
    if let Err(error) = result {
        log(&format!("seaway-cni: {}", chain(&error)));
    }
}
