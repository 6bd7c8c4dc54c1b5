//! Functions and methods.

use std::net::IpAddr;

use super::eval::no_overload;
use super::value::Val;
use ipnet::IpNet;

type Given<'a> = Result<Val<'a>, String>;

/// A function; of a method the value comes first.
pub(super) struct Function {
    name: &'static str,
    /// How many arguments it takes.
    arguments: &'static [usize],
    form: Form,
    /// How much more work it is than to look at its arguments: what it makes.
    pub(super) cost: fn(&[Val<'_>]) -> usize,
    pub(super) run: for<'a> fn(Vec<Val<'a>>) -> Given<'a>,
}

#[derive(PartialEq)]
enum Form {
    Function,
    Method,
    Both,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

const fn function(name: &'static str, run: for<'a> fn(Vec<Val<'a>>) -> Given<'a>) -> Function {
    Function {
        name,
        arguments: &[1],
        form: Form::Function,
        cost: |_| 0,
        run,
    }
}

const fn method(
    name: &'static str,
    arguments: &'static [usize],
    run: for<'a> fn(Vec<Val<'a>>) -> Given<'a>,
) -> Function {
    Function {
        name,
        arguments,
        form: Form::Method,
        cost: |_| 0,
        run,
    }
}

/// A method that may make much more than it is given.
const fn making(
    name: &'static str,
    arguments: &'static [usize],
    cost: fn(&[Val<'_>]) -> usize,
    run: for<'a> fn(Vec<Val<'a>>) -> Given<'a>,
) -> Function {
    Function {
        cost,
        ..method(name, arguments, run)
    }
}

static FUNCTIONS: [Function; 29] = [
    Function {
        name: "size",
        arguments: &[1],
        form: Form::Both,
        cost: |_| 0,
        run: |all| all[0].size().map(Val::Int),
    },
    function("string", string),
    function("int", int),
    function("double", double),
    function("duration", |all| duration(&all[0])),
    function("isIP", |all| {
        text(&all[0]).map(|text| Val::Bool(address(text).is_some()))
    }),
    function("ip", |all| parsed(&all[0], address, Val::Address)),
    function("isCIDR", |all| {
        text(&all[0]).map(|text| Val::Bool(net(text).is_some()))
    }),
    function("cidr", |all| parsed(&all[0], net, Val::Net)),
    method("startsWith", &[2], |all| {
        test(&all, |text, part| text.starts_with(part))
    }),
    method("endsWith", &[2], |all| {
        test(&all, |text, part| text.ends_with(part))
    }),
    method("contains", &[2], |all| {
        test(&all, |text, part| text.contains(part))
    }),
    method("lowerAscii", &[1], |all| {
        text(&all[0]).map(|text| made(text.to_ascii_lowercase()))
    }),
    method("upperAscii", &[1], |all| {
        text(&all[0]).map(|text| made(text.to_ascii_uppercase()))
    }),
    method("trim", &[1], |all| {
        text(&all[0]).map(|text| made(text.trim().to_owned()))
    }),
    making("split", &[2, 3], pieces, split),
    making("join", &[1, 2], joined, join),
    method("replace", &[3], replace),
    method("indexOf", &[2], |all| {
        index(&all, |text, part| text.find(part))
    }),
    method("lastIndexOf", &[2], |all| {
        index(&all, |text, part| text.rfind(part))
    }),
    method("substring", &[2, 3], substring),
    method("charAt", &[2], char_at),
    method("family", &[1], family),
    method("prefixLength", &[1], prefix_length),
    method("ip", &[1], |all| match &all[0] {
        Val::Net(net) => Ok(Val::Address(net.addr())),
        _ => no_overload(),
    }),
    method("isUnspecified", &[1], |all| {
        of_address(&all[0], IpAddr::is_unspecified)
    }),
    method("isLoopback", &[1], |all| {
        of_address(&all[0], IpAddr::is_loopback)
    }),
    method("isSorted", &[1], is_sorted),
    method("sum", &[1], sum),
];

/// The function of this name that takes so many arguments.
pub(super) fn find(name: &str, arguments: usize, method: bool) -> Option<&'static Function> {
    let other = if method { Form::Function } else { Form::Method };
    FUNCTIONS.iter().find(|function| {
        function.name == name && function.arguments.contains(&arguments) && function.form != other
    })
}

fn text<'b>(value: &'b Val<'_>) -> Result<&'b str, String> {
    match value {
        Val::Text(text) => Ok(text),
        _ => no_overload(),
    }
}

fn made<'a>(text: String) -> Val<'a> {
    Val::Text(text.into())
}

fn place<'a>(at: usize) -> Val<'a> {
    Val::Int(i64::try_from(at).unwrap_or(i64::MAX))
}

fn test<'a>(all: &[Val<'a>], test: fn(&str, &str) -> bool) -> Given<'a> {
    Ok(Val::Bool(test(text(&all[0])?, text(&all[1])?)))
}

/// An address as Kubernetes takes it: no zone, no IPv4 within IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    let mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    (!mapped).then_some(address)
}

fn net(text: &str) -> Option<IpNet> {
    let (start, length) = text.split_once('/')?;
    address(start)?;
    let plain = length == "0" || !length.starts_with(['0', '+']);
    plain.then(|| text.parse().ok())?
}

fn parsed<'a, T>(
    value: &Val<'a>,
    parse: fn(&str) -> Option<T>,
    make: fn(T) -> Val<'a>,
) -> Given<'a> {
    let text = text(value)?;
    let parsed = parse(text).map(make);
    parsed.ok_or_else(|| format!("{text:?} is no address or prefix"))
}

fn of_address<'a>(value: &Val<'a>, test: fn(&IpAddr) -> bool) -> Given<'a> {
    match value {
        Val::Address(address) => Ok(Val::Bool(test(address))),
        _ => no_overload(),
    }
}

fn family(all: Vec<Val<'_>>) -> Given<'_> {
    match &all[0] {
        Val::Address(address) => Ok(Val::Int(if address.is_ipv4() { 4 } else { 6 })),
        _ => no_overload(),
    }
}

fn prefix_length(all: Vec<Val<'_>>) -> Given<'_> {
    match &all[0] {
        Val::Net(net) => Ok(Val::Int(net.prefix_len().into())),
        _ => no_overload(),
    }
}

fn string(all: Vec<Val<'_>>) -> Given<'_> {
    Ok(match &all[0] {
        Val::Text(text) => Val::Text(text.clone()),
        Val::Int(number) => made(number.to_string()),
        Val::Double(number) => made(number.to_string()),
        Val::Bool(flag) => made(flag.to_string()),
        Val::Address(address) => made(address.to_string()),
        Val::Net(net) => made(net.to_string()),
        _ => return no_overload(),
    })
}

fn int(all: Vec<Val<'_>>) -> Given<'_> {
    match &all[0] {
        Val::Int(number) => Ok(Val::Int(*number)),
        Val::Double(number) if number.abs() < i64::MAX as f64 => Ok(Val::Int(*number as i64)),
        Val::Text(text) => {
            let number = text.parse().map(Val::Int);
            number.map_err(|_| format!("{text:?} is no whole number"))
        }
        _ => no_overload(),
    }
}

fn double(all: Vec<Val<'_>>) -> Given<'_> {
    match &all[0] {
        Val::Int(number) => Ok(Val::Double(*number as f64)),
        Val::Double(number) => Ok(Val::Double(*number)),
        Val::Text(text) => {
            let number = text.parse().map(Val::Double);
            number.map_err(|_| format!("{text:?} is no number"))
        }
        _ => no_overload(),
    }
}

/// A duration such as `1h10m`, in whole nanoseconds.
fn duration<'a>(value: &Val<'a>) -> Given<'a> {
    let given = text(value)?;
    nanoseconds(given)
        .map(Val::Duration)
        .ok_or_else(|| format!("{given:?} is no duration"))
}

/// A duration as Go writes it.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|one: char| !one.is_ascii_digit() && one != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        let (unit, factor) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total += number * factor;
    }
    let total = if negative { -total } else { total };
    (total.abs() < i64::MAX as f64).then_some(total.round() as i64)
}

/// How many pieces a text falls into.
fn pieces(all: &[Val<'_>]) -> usize {
    match (text(&all[0]), text(&all[1])) {
        (Ok(given), Ok(by)) => given.matches(by).count(),
        _ => 0,
    }
}

fn split(all: Vec<Val<'_>>) -> Given<'_> {
    let (given, by) = (text(&all[0])?, text(&all[1])?);
    let parts: Vec<&str> = match all.get(2) {
        None | Some(Val::Int(..0)) => given.split(by).collect(),
        Some(Val::Int(most)) => given
            .splitn(usize::try_from(*most).unwrap_or(0), by)
            .collect(),
        Some(_) => return no_overload(),
    };
    // Go gives single characters for an empty separator, without empty ends.
    let keep = |part: &&str| !by.is_empty() || !part.is_empty();
    let parts = parts.into_iter().filter(keep);
    Ok(Val::list(parts.map(|part| made(part.to_owned())).collect()))
}

/// What the separators of a joined text weigh.
fn joined(all: &[Val<'_>]) -> usize {
    let by = all.get(1).and_then(|by| text(by).ok()).unwrap_or("");
    let count = all[0]
        .size()
        .ok()
        .and_then(|size| usize::try_from(size).ok());
    count.unwrap_or(0).saturating_mul(by.len()) / 16
}

fn join(all: Vec<Val<'_>>) -> Given<'_> {
    let by = all.get(1).map_or(Ok(""), text)?;
    let items = all[0].items()?;
    let texts: Result<Vec<&str>, String> = items.iter().map(text).collect();
    Ok(made(texts?.join(by)))
}

fn replace(all: Vec<Val<'_>>) -> Given<'_> {
    let (given, old, new) = (text(&all[0])?, text(&all[1])?, text(&all[2])?);
    let most = given.len() + given.matches(old).count().saturating_mul(new.len());
    if most > 1 << 20 {
        return Err("the text becomes too long".to_owned());
    }
    Ok(made(given.replace(old, new)))
}

fn index<'a>(all: &[Val<'a>], find: fn(&str, &str) -> Option<usize>) -> Given<'a> {
    let given = text(&all[0])?;
    let at = find(given, text(&all[1])?);
    Ok(at.map_or(Val::Int(-1), |at| place(given[..at].chars().count())))
}

fn substring(all: Vec<Val<'_>>) -> Given<'_> {
    let given: Vec<char> = text(&all[0])?.chars().collect();
    let bound = |value: &Val<'_>| match value {
        Val::Int(at) => usize::try_from(*at).ok().filter(|at| *at <= given.len()),
        _ => None,
    };
    let start = bound(&all[1]);
    let end = all.get(2).map_or(Some(given.len()), bound);
    match (start, end) {
        (Some(start), Some(end)) if start <= end => Ok(made(given[start..end].iter().collect())),
        _ => Err("index out of range".to_owned()),
    }
}

fn char_at(all: Vec<Val<'_>>) -> Given<'_> {
    let (given, Val::Int(at)) = (text(&all[0])?, &all[1]) else {
        return no_overload();
    };
    let at = usize::try_from(*at).map_err(|_| "index out of range".to_owned())?;
    Ok(made(given.chars().skip(at).take(1).collect()))
}

fn is_sorted(all: Vec<Val<'_>>) -> Given<'_> {
    let items = all[0].items()?;
    let sorted = items.windows(2).all(|pair| {
        pair[0]
            .order(&pair[1])
            .is_some_and(std::cmp::Ordering::is_le)
    });
    Ok(Val::Bool(sorted))
}

fn sum(all: Vec<Val<'_>>) -> Given<'_> {
    let items = all[0].items()?;
    if let Some(Val::Double(_)) = items.first() {
        let doubles = items.iter().map(|item| match item {
            Val::Double(number) => Ok(*number),
            _ => no_overload(),
        });
        return doubles.sum::<Result<f64, String>>().map(Val::Double);
    }
    let mut total: i64 = 0;
    for item in items {
        let Val::Int(number) = item else {
            return no_overload();
        };
        total = total
            .checked_add(number)
            .ok_or_else(|| "integer overflow".to_owned())?;
    }
    Ok(Val::Int(total))
}
