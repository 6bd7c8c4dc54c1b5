//! From words to an expression.

use regex::Regex;

use super::ParseError;
use super::functions;
use super::lex::{self, Word};
use super::pattern;

/// The deepest nesting.
const DEEPEST: usize = 100;

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Differ,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A macro over a list or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// An expression.
#[derive(Debug)]
pub(super) enum Expr {
    Null,
    Flag(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<Expr>),
    Name(String),
    Field(Box<Expr>, String),
    Has(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    If(Box<[Expr; 3]>),
    Binary(Operator, Box<[Expr; 2]>),
    /// A function with its arguments; of a method the value comes first.
    Call(&'static functions::Function, Vec<Expr>),
    Matches(Box<Expr>, Regex),
    /// With a regular expression that is only known when it is evaluated.
    MatchesGiven(Box<Expr>, Box<Expr>),
    Macro(Macro, Box<Expr>, String, Box<Expr>),
}

impl Expr {
    fn children(&self) -> Vec<&Expr> {
        match self {
            Self::List(all) | Self::And(all) | Self::Or(all) | Self::Call(_, all) => {
                all.iter().collect()
            }
            Self::Field(one, _)
            | Self::Has(one, _)
            | Self::Not(one)
            | Self::Negative(one)
            | Self::Matches(one, _) => vec![one],
            Self::Index(one, other)
            | Self::Macro(_, one, _, other)
            | Self::MatchesGiven(one, other) => vec![one, other],
            Self::If(all) => all.iter().collect(),
            Self::Binary(_, all) => all.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// How many regular expressions are in it.
    pub(super) fn patterns(&self) -> usize {
        let below = self.children().into_iter().map(Expr::patterns);
        usize::from(matches!(self, Self::Matches(..))) + below.sum::<usize>()
    }

    /// Whether the variable is in it.
    pub(super) fn uses(&self, name: &str) -> bool {
        matches!(self, Self::Name(own) if own == name)
            || self.children().iter().any(|child| child.uses(name))
    }
}

/// An expression and how deep it is.
struct Node(Expr, usize);

impl Node {
    /// A leaf.
    fn leaf(expr: Expr) -> Self {
        Self(expr, 1)
    }
}

struct Parser {
    words: Vec<(usize, Word)>,
    next: usize,
    names: Vec<String>,
    depth: usize,
}

type Parsed = Result<Node, ParseError>;

/// Reads an expression over these variables.
pub(super) fn parse(text: &str, names: &[&str]) -> Result<Expr, ParseError> {
    let mut parser = Parser {
        words: lex::words(text)?,
        next: 0,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        depth: 0,
    };
    let node = parser.ternary()?;
    match parser.words.get(parser.next) {
        None => Ok(node.0),
        Some(_) => Err(parser.wrong("the expression should end here")),
    }
}

impl Parser {
    fn wrong(&self, what: impl Into<String>) -> ParseError {
        let last = self.words.last();
        let at = self.words.get(self.next).or(last).map_or(0, |(at, _)| *at);
        ParseError::Syntax {
            at,
            what: what.into(),
        }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.words.get(self.next), Some((_, Word::Sign(own))) if *own == sign);
        self.next += usize::from(found);
        found
    }

    fn expects(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(self.wrong(format!("{sign:?} is missing")))
    }

    fn node(&self, depth: usize, make: Expr) -> Parsed {
        if depth >= DEEPEST {
            return Err(ParseError::TooLarge);
        }
        Ok(Node(make, depth + 1))
    }

    fn ternary(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(ParseError::TooLarge);
        }
        let condition = self.chain("||", Expr::Or, |parser| {
            parser.chain("&&", Expr::And, |parser| parser.binary(0))
        })?;
        let node = if self.takes("?") {
            let yes = self.ternary()?;
            self.expects(":")?;
            let no = self.ternary()?;
            let depth = condition.1.max(yes.1).max(no.1);
            self.node(depth, Expr::If(Box::new([condition.0, yes.0, no.0])))?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    fn chain(
        &mut self,
        sign: &str,
        make: fn(Vec<Expr>) -> Expr,
        mut part: impl FnMut(&mut Self) -> Parsed,
    ) -> Parsed {
        let Node(first, mut depth) = part(self)?;
        let mut parts = vec![first];
        while self.takes(sign) {
            let Node(next, own) = part(self)?;
            parts.push(next);
            depth = depth.max(own);
        }
        match parts.len() {
            1 => Ok(Node(parts.remove(0), depth)),
            _ => self.node(depth, make(parts)),
        }
    }

    fn operator(&mut self, level: usize) -> Option<Operator> {
        let found = match (level, &self.words.get(self.next)?.1) {
            (0, Word::Sign("==")) => Operator::Equal,
            (0, Word::Sign("!=")) => Operator::Differ,
            (0, Word::Sign("<")) => Operator::Less,
            (0, Word::Sign("<=")) => Operator::LessOrEqual,
            (0, Word::Sign(">")) => Operator::Greater,
            (0, Word::Sign(">=")) => Operator::GreaterOrEqual,
            (0, Word::Name(name)) if name == "in" => Operator::In,
            (1, Word::Sign("+")) => Operator::Add,
            (1, Word::Sign("-")) => Operator::Subtract,
            (2, Word::Sign("*")) => Operator::Multiply,
            (2, Word::Sign("/")) => Operator::Divide,
            (2, Word::Sign("%")) => Operator::Remainder,
            _ => return None,
        };
        self.next += 1;
        Some(found)
    }

    fn binary(&mut self, level: usize) -> Parsed {
        if level > 2 {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(level) {
            let right = self.binary(level + 1)?;
            let depth = left.1.max(right.1);
            left = self.node(depth, Expr::Binary(operator, Box::new([left.0, right.0])))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(ParseError::TooLarge);
        }
        let node = if self.takes("!") {
            let inner = self.unary()?;
            self.node(inner.1, Expr::Not(Box::new(inner.0)))?
        } else if self.takes("-") {
            let inner = self.unary()?;
            self.node(inner.1, Expr::Negative(Box::new(inner.0)))?
        } else {
            self.member()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn member(&mut self) -> Parsed {
        let mut node = self.primary()?;
        loop {
            if self.takes("[") {
                let index = self.ternary()?;
                self.expects("]")?;
                let depth = node.1.max(index.1);
                node = self.node(depth, Expr::Index(Box::new(node.0), Box::new(index.0)))?;
            } else if self.takes(".") {
                let name = self.name()?;
                node = match self.takes("(") {
                    true => self.method(node, &name)?,
                    false => {
                        let field = Expr::Field(Box::new(node.0), unescaped(&name));
                        self.node(node.1, field)?
                    }
                };
            } else {
                return Ok(node);
            }
        }
    }

    fn name(&mut self) -> Result<String, ParseError> {
        match self.words.get(self.next) {
            Some((_, Word::Name(name))) => {
                let name = name.clone();
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.wrong("a name is missing")),
        }
    }

    fn primary(&mut self) -> Parsed {
        if self.takes("(") {
            let node = self.ternary()?;
            self.expects(")")?;
            return Ok(node);
        }
        if self.takes("[") {
            let (items, depth) = self.arguments("]")?;
            return self.node(depth, Expr::List(items));
        }
        let Some((_, word)) = self.words.get(self.next).cloned() else {
            return Err(self.wrong("the expression ends too early"));
        };
        let leaf = match word {
            Word::Int(number) => Expr::Int(number),
            Word::Double(number) => Expr::Double(number),
            Word::Text(text) => Expr::Text(text),
            Word::Name(name) => return self.named(&name),
            Word::Sign(sign) => return Err(self.wrong(format!("{sign:?} is not known here"))),
        };
        self.next += 1;
        Ok(Node::leaf(leaf))
    }

    fn named(&mut self, name: &str) -> Parsed {
        let leaf = match name {
            "true" => Expr::Flag(true),
            "false" => Expr::Flag(false),
            "null" => Expr::Null,
            _ if self.names.iter().any(|known| known == name) => Expr::Name(name.to_owned()),
            _ => {
                self.next += 1;
                if !self.takes("(") {
                    self.next -= 1;
                    return Err(self.wrong(format!("there is no {name:?}")));
                }
                return self.function(name);
            }
        };
        self.next += 1;
        Ok(Node::leaf(leaf))
    }

    /// Expressions up to a closing bracket, and how deep they are.
    fn arguments(&mut self, end: &str) -> Result<(Vec<Expr>, usize), ParseError> {
        let (mut all, mut depth) = (Vec::new(), 0);
        while !self.takes(end) {
            if !all.is_empty() {
                self.expects(",")?;
                if self.takes(end) {
                    break;
                }
            }
            let Node(next, own) = self.ternary()?;
            all.push(next);
            depth = depth.max(own);
        }
        Ok((all, depth))
    }

    fn function(&mut self, name: &str) -> Parsed {
        let (mut arguments, depth) = self.arguments(")")?;
        if name == "has" {
            return match arguments.pop() {
                Some(Expr::Field(of, field)) if arguments.is_empty() => {
                    self.node(depth, Expr::Has(of, field))
                }
                _ => Err(self.wrong("has() takes one field")),
            };
        }
        self.call(name, arguments, depth, false)
    }

    fn method(&mut self, on: Node, name: &str) -> Parsed {
        let made = match name {
            "all" => Macro::All,
            "exists" => Macro::Exists,
            "exists_one" | "existsOne" => Macro::ExistsOne,
            "filter" => Macro::Filter,
            "map" => Macro::Map,
            _ => {
                let (mut arguments, depth) = self.arguments(")")?;
                arguments.insert(0, on.0);
                return self.call(name, arguments, depth.max(on.1), true);
            }
        };
        let variable = self.name()?;
        self.expects(",")?;
        self.names.push(variable.clone());
        let body = self.ternary()?;
        self.names.pop();
        self.expects(")")?;
        let depth = on.1.max(body.1);
        self.node(
            depth,
            Expr::Macro(made, Box::new(on.0), variable, Box::new(body.0)),
        )
    }

    fn call(&mut self, name: &str, mut all: Vec<Expr>, depth: usize, method: bool) -> Parsed {
        if name == "matches" && all.len() == 2 {
            let (Some(pattern), Some(of)) = (all.pop(), all.pop()) else {
                return Err(self.wrong("matches() takes a text and a pattern"));
            };
            let Expr::Text(pattern) = pattern else {
                let given = Expr::MatchesGiven(Box::new(of), Box::new(pattern));
                return self.node(depth, given);
            };
            let pattern = pattern::compile(&pattern)
                .map_err(|error| self.wrong(format!("no regular expression: {error}")))?;
            return self.node(depth, Expr::Matches(Box::new(of), pattern));
        }
        let function = functions::find(name, all.len(), method)
            .ok_or_else(|| self.wrong(format!("the function {name}() is not known")))?;
        self.node(depth, Expr::Call(function, all))
    }
}

/// A field's name: what would be a keyword or has other characters is written between underscores.
fn unescaped(name: &str) -> String {
    let keyword = name
        .strip_prefix("__")
        .and_then(|name| name.strip_suffix("__"));
    match keyword {
        Some("dot" | "dash" | "slash" | "underscores") | None => {}
        Some(keyword) if !keyword.contains("__") => return keyword.to_owned(),
        Some(_) => {}
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}
