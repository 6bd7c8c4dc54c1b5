//! The Common Expression Language, as far as rules of CustomResourceDefinitions use it.
//!
//! A rule that uses more is not evaluated, and whoever installs the definition is warned of it.
//! Expressions are not typed beforehand: what does not fit is an error when it is evaluated, and
//! then the object is refused. Work is bounded by a [`Budget`].

mod eval;
pub(crate) mod functions;
mod lex;
mod parse;
pub(crate) mod pattern;
#[cfg(test)]
mod tests;
mod value;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use crate::crd::schema::Schema;
use crate::kinds::read;
use eval::Scope;
use parse::Expr;
use value::Val;

/// Why a rule cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// It is none, or none that this server understands.
    #[error("at character {at}: {what}")]
    Syntax { at: usize, what: String },
    /// It is larger than any sensible rule.
    #[error("it is too long or too deep")]
    TooLarge,
}

/// What compiling a regular expression of an object costs, in steps.
const COMPILING: usize = 50_000;

/// How many steps the rules of one object may take.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<u64>,
    /// The regular expressions of the object itself; what they cost bounds how many there are.
    patterns: RefCell<HashMap<String, Result<Regex, String>>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: Cell::new(4_000_000),
            patterns: RefCell::default(),
        }
    }
}

impl Budget {
    /// Takes steps, if there are as many.
    fn spend(&self, steps: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(steps as u64);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ())
            .ok_or_else(|| "the rules take more steps than an object may cost".to_owned())
    }

    /// A regular expression that the object gives.
    fn pattern(&self, text: &str) -> Result<Regex, String> {
        self.spend(1 + text.len() / 16)?;
        if let Some(known) = self.patterns.borrow().get(text) {
            return known.clone();
        }
        self.spend(COMPILING + text.len())?;
        let made = pattern::compile_given(text).map_err(|error| error.to_string());
        self.patterns
            .borrow_mut()
            .insert(text.to_owned(), made.clone());
        made
    }
}

/// One entry of `x-kubernetes-validations`.
#[derive(Debug)]
pub(crate) struct Rule {
    text: String,
    expression: Expr,
    message: String,
    message_expression: Option<Expr>,
    /// Why, as a cause of a `Status`.
    pub(crate) reason: &'static str,
    /// Where in the value, such as `.a.b`.
    pub(crate) field: String,
    /// Whether it compares with what was before.
    transition: bool,
}

impl Rule {
    /// How many regular expressions it holds.
    pub(crate) fn patterns(&self) -> usize {
        let message = self.message_expression.as_ref().map_or(0, Expr::patterns);
        self.expression.patterns() + message
    }

    /// Reads a rule.
    pub(crate) fn parse(json: &Value) -> Result<Self, ParseError> {
        let text = read::text(json, "rule");
        if read::flag(json, "optionalOldSelf") {
            return Err(ParseError::Syntax {
                at: 0,
                what: "optionalOldSelf is not known".into(),
            });
        }
        let expression = parse::parse(text, &["self", "oldSelf"])?;
        let message_expression = read::text(json, "messageExpression");
        let message_expression = (!message_expression.is_empty())
            .then(|| parse::parse(message_expression, &["self", "oldSelf"]))
            .transpose()?;
        Ok(Self {
            transition: expression.uses("oldSelf"),
            text: text.to_owned(),
            expression,
            message: read::text(json, "message").to_owned(),
            message_expression,
            reason: reason(read::text(json, "reason")),
            field: read::text(json, "fieldPath").to_owned(),
        })
    }

    /// What is wrong with a value of this schema, given the one before.
    pub(crate) fn broken(
        &self,
        value: &Value,
        old: Option<&Value>,
        schema: Option<&Schema>,
        budget: &Budget,
    ) -> Option<String> {
        if self.transition && old.is_none() {
            return None;
        }
        let mut scope = Scope::new(budget);
        scope.set("self", Val::of(value, schema));
        if let Some(old) = old {
            scope.set("oldSelf", Val::of(old, schema));
        }
        match scope.eval(&self.expression) {
            Ok(Val::Bool(true)) => None,
            Ok(Val::Bool(false)) => Some(self.words(&mut scope)),
            Ok(_) => Some(format!(
                "rule gives no boolean evaluating rule: {}",
                self.default()
            )),
            Err(error) => Some(format!("{error} evaluating rule: {}", self.default())),
        }
    }

    fn words<'a>(&'a self, scope: &mut Scope<'a>) -> String {
        let made = self
            .message_expression
            .as_ref()
            .map(|expression| scope.eval(expression));
        match made {
            Some(Ok(Val::Text(text))) if !text.trim().is_empty() => text.to_string(),
            _ => self.default(),
        }
    }

    fn default(&self) -> String {
        match self.message.trim() {
            "" => format!("failed rule: {}", self.text.trim()),
            message => message.to_owned(),
        }
    }
}

fn reason(name: &str) -> &'static str {
    match name {
        "FieldValueForbidden" => "FieldValueForbidden",
        "FieldValueRequired" => "FieldValueRequired",
        "FieldValueDuplicate" => "FieldValueDuplicate",
        _ => "FieldValueInvalid",
    }
}
