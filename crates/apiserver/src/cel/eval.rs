//! What an expression gives.

use std::cmp::Ordering;

use super::Budget;
use super::parse::{Expr, Macro, Operator};
use super::value::Val;

/// What a character costs that is matched with a regular expression of the object, in steps: that
/// of a definition was chosen with care, this one may be as bad as can be.
const MATCHING: usize = 16;

/// Variables and their values.
pub(super) struct Scope<'a> {
    variables: Vec<(&'a str, Val<'a>)>,
    pub(super) budget: &'a Budget,
}

type Given<'a> = Result<Val<'a>, String>;

/// What is said of values to which something does not apply.
pub(super) fn no_overload<T>() -> Result<T, String> {
    Err("no such overload".to_owned())
}

impl<'a> Scope<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self {
            variables: Vec::new(),
            budget,
        }
    }

    pub(super) fn set(&mut self, name: &'a str, value: Val<'a>) {
        self.variables.push((name, value));
    }

    /// The value of an expression.
    pub(super) fn eval(&mut self, expr: &'a Expr) -> Given<'a> {
        self.budget.spend(1)?;
        match expr {
            Expr::Null => Ok(Val::Null),
            Expr::Flag(flag) => Ok(Val::Bool(*flag)),
            Expr::Int(number) => Ok(Val::Int(*number)),
            Expr::Double(number) => Ok(Val::Double(*number)),
            Expr::Text(text) => Ok(Val::Text(text.as_str().into())),
            Expr::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.eval(item)).collect();
                Ok(Val::list(items?))
            }
            Expr::Name(name) => self.variable(name),
            Expr::Field(of, name) => match self.eval(of)? {
                Val::Map(fields, shape) => Val::field(fields, shape, name),
                _ => no_overload(),
            },
            Expr::Has(of, name) => match self.eval(of)? {
                Val::Map(fields, _) => Ok(Val::Bool(fields.contains_key(name))),
                _ => no_overload(),
            },
            Expr::Index(of, at) => self.index(of, at),
            Expr::Not(inner) => match self.eval(inner)? {
                Val::Bool(flag) => Ok(Val::Bool(!flag)),
                _ => no_overload(),
            },
            Expr::Negative(inner) => match self.eval(inner)? {
                Val::Int(number) => number.checked_neg().map(Val::Int).ok_or_else(overflow),
                Val::Double(number) => Ok(Val::Double(-number)),
                _ => no_overload(),
            },
            Expr::And(parts) => self.settle(parts, false),
            Expr::Or(parts) => self.settle(parts, true),
            Expr::If(parts) => match self.eval(&parts[0])? {
                Val::Bool(true) => self.eval(&parts[1]),
                Val::Bool(false) => self.eval(&parts[2]),
                _ => no_overload(),
            },
            Expr::Binary(operator, sides) => {
                let (left, right) = (self.eval(&sides[0])?, self.eval(&sides[1])?);
                self.binary(*operator, left, right)
            }
            Expr::Call(function, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    let value = self.eval(argument)?;
                    self.budget.spend(value.weight())?;
                    values.push(value);
                }
                self.budget.spend((function.cost)(&values))?;
                (function.run)(values)
            }
            Expr::Matches(of, pattern) => match self.eval(of)? {
                Val::Text(text) => {
                    self.budget.spend(1 + text.len())?;
                    Ok(Val::Bool(pattern.is_match(&text)))
                }
                _ => no_overload(),
            },
            Expr::MatchesGiven(of, pattern) => match (self.eval(of)?, self.eval(pattern)?) {
                (Val::Text(text), Val::Text(pattern)) => {
                    let pattern = self.budget.pattern(&pattern)?;
                    self.budget.spend(1 + text.len().saturating_mul(MATCHING))?;
                    Ok(Val::Bool(pattern.is_match(&text)))
                }
                _ => no_overload(),
            },
            Expr::Macro(kind, over, name, body) => self.each(*kind, over, name, body),
        }
    }

    fn variable(&self, name: &str) -> Given<'a> {
        let found = self.variables.iter().rev().find(|(own, _)| *own == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("undeclared reference to '{name}'"))
    }

    fn index(&mut self, of: &'a Expr, at: &'a Expr) -> Given<'a> {
        let (of, at) = (self.eval(of)?, self.eval(at)?);
        self.budget.spend(at.weight())?;
        match (of, at) {
            (Val::Map(fields, shape), Val::Text(key)) => Val::field(fields, shape, &key),
            (list @ (Val::Items(..) | Val::List(_)), Val::Int(at)) => {
                let item = usize::try_from(at).ok().and_then(|at| match list {
                    Val::Items(items, shape) => items.get(at).map(|item| Val::item(item, shape)),
                    Val::List(items) => items.get(at).cloned(),
                    _ => None,
                });
                item.ok_or_else(|| format!("index out of bounds: {at}"))
            }
            _ => no_overload(),
        }
    }

    /// `&&` or `||`: one part that settles it outweighs errors in others.
    fn settle(&mut self, parts: &'a [Expr], settles: bool) -> Given<'a> {
        let mut failed = None;
        for part in parts {
            match self.eval(part) {
                Ok(Val::Bool(flag)) if flag == settles => return Ok(Val::Bool(settles)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failed = Some("no such overload".to_owned()),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Val::Bool(!settles)), Err)
    }

    fn binary(&mut self, operator: Operator, left: Val<'a>, right: Val<'a>) -> Given<'a> {
        self.budget
            .spend(left.weight().saturating_add(right.weight()))?;
        let flag = match operator {
            Operator::Equal => left.same(&right),
            Operator::Differ => !left.same(&right),
            Operator::In => match &right {
                Val::Map(fields, _) => match &left {
                    Val::Text(key) => fields.contains_key(&**key),
                    _ => return no_overload(),
                },
                list => list.items()?.iter().any(|item| item.same(&left)),
            },
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                let Some(order) = left.order(&right) else {
                    return no_overload();
                };
                match operator {
                    Operator::Less => order == Ordering::Less,
                    Operator::LessOrEqual => order != Ordering::Greater,
                    Operator::Greater => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                }
            }
            _ => return arithmetic(operator, left, right),
        };
        Ok(Val::Bool(flag))
    }

    fn each(&mut self, kind: Macro, over: &'a Expr, name: &'a str, body: &'a Expr) -> Given<'a> {
        let items = self.eval(over)?.items()?;
        self.budget.spend(items.len())?;
        let (mut kept, mut failed, mut hits) = (Vec::new(), None, 0);
        for item in items {
            self.set(name, item.clone());
            let given = self.eval(body);
            self.variables.pop();
            match (kind, given) {
                (Macro::Map, given) => kept.push(given?),
                (Macro::All, Ok(Val::Bool(false))) => return Ok(Val::Bool(false)),
                (Macro::Exists, Ok(Val::Bool(true))) => return Ok(Val::Bool(true)),
                (Macro::Filter, Ok(Val::Bool(true))) => kept.push(item),
                (_, Ok(Val::Bool(flag))) => hits += usize::from(flag),
                (Macro::All | Macro::Exists, Err(error)) => failed = Some(error),
                (_, Err(error)) => return Err(error),
                (_, Ok(_)) => return no_overload(),
            }
        }
        match (kind, failed) {
            (_, Some(error)) => Err(error),
            (Macro::All, None) => Ok(Val::Bool(true)),
            (Macro::Exists, None) => Ok(Val::Bool(false)),
            (Macro::ExistsOne, None) => Ok(Val::Bool(hits == 1)),
            (Macro::Filter | Macro::Map, None) => Ok(Val::list(kept)),
        }
    }
}

fn overflow() -> String {
    "integer overflow".to_owned()
}

fn arithmetic<'a>(operator: Operator, left: Val<'a>, right: Val<'a>) -> Given<'a> {
    match (left, right) {
        (Val::Int(left), Val::Int(right)) => {
            if right == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
                return Err("division by zero".to_owned());
            }
            let number = match operator {
                Operator::Add => left.checked_add(right),
                Operator::Subtract => left.checked_sub(right),
                Operator::Multiply => left.checked_mul(right),
                Operator::Divide => left.checked_div(right),
                _ => left.checked_rem(right),
            };
            number.map(Val::Int).ok_or_else(overflow)
        }
        (Val::Double(left), Val::Double(right)) => match operator {
            Operator::Add => Ok(Val::Double(left + right)),
            Operator::Subtract => Ok(Val::Double(left - right)),
            Operator::Multiply => Ok(Val::Double(left * right)),
            Operator::Divide => Ok(Val::Double(left / right)),
            _ => no_overload(),
        },
        (Val::Duration(left), Val::Duration(right)) => match operator {
            Operator::Add => left
                .checked_add(right)
                .map(Val::Duration)
                .ok_or_else(overflow),
            Operator::Subtract => left
                .checked_sub(right)
                .map(Val::Duration)
                .ok_or_else(overflow),
            _ => no_overload(),
        },
        (Val::Text(left), Val::Text(right)) if operator == Operator::Add => {
            Ok(Val::Text(format!("{}{}", &*left, &*right).into()))
        }
        (left @ (Val::Items(..) | Val::List(_)), right @ (Val::Items(..) | Val::List(_)))
            if operator == Operator::Add =>
        {
            let mut items = left.items()?;
            items.extend(right.items()?);
            Ok(Val::list(items))
        }
        _ => no_overload(),
    }
}
