//! Stdin, with a bound.

use std::io::{IsTerminal, Read, stdin};

use seaway_cni::spec::{CniError, code};
use seaway_cni::wire::MAX_MESSAGE;

/// Larger than any configuration; what has to fit a message has to leave room for the rest of it.
const MAX_INPUT: usize = MAX_MESSAGE - (64 << 10);

/// Reads the network configuration.
pub(crate) fn read() -> Result<Vec<u8>, CniError> {
    let stdin = stdin().lock();
    if stdin.is_terminal() {
        return Err(failure("it is a terminal; write it the configuration"));
    }
    let mut text = Vec::new();
    let most = MAX_INPUT as u64 + 1;
    let read = stdin.take(most).read_to_end(&mut text);
    match read {
        Err(error) => Err(failure(&error.to_string())),
        Ok(length) if length > MAX_INPUT => Err(CniError::new(
            code::DECODING_FAILURE,
            format!("the network configuration has more than {MAX_INPUT} bytes"),
        )),
        Ok(_) => Ok(text),
    }
}

fn failure(problem: &str) -> CniError {
    let msg = format!("cannot read the network configuration from stdin: {problem}");
    CniError::new(code::IO_FAILURE, msg)
}
