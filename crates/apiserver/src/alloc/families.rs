//! IP families and ClusterIPs of a Service.
//!
//! Rules, in the order of the code: an ExternalName has no addresses; the families are those that
//! are named, else those of the addresses that are named, else the default one; `PreferDualStack`
//! adds the other family where the cluster has it, `RequireDualStack` insists; headless Services
//! have families but no addresses; a named address must be free and in range.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Desk, Item, Refusal, invalid, text};

/// The addresses of a Service; none if it is headless.
pub(super) fn addresses(spec: &Value) -> Vec<String> {
    strings(spec, "clusterIPs")
        .into_iter()
        .filter(|address| address != "None")
        .collect()
}

fn strings(spec: &Value, field: &str) -> Vec<String> {
    spec.get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

fn family_of(address: &str) -> Option<&'static str> {
    address
        .parse()
        .ok()
        .map(|address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" })
}

fn object(spec: &mut Value) -> Option<&mut Map<String, Value>> {
    spec.as_object_mut()
}

fn is_external_name(spec: &Value) -> bool {
    text(spec, "type") == "ExternalName"
}

/// Keeps addresses and families that an update leaves out.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    if is_external_name(new) || is_external_name(old) {
        return;
    }
    let same_first = text(new, "clusterIP").is_empty() || new["clusterIP"] == old["clusterIP"];
    let given = strings(new, "clusterIPs");
    if same_first && given.is_empty() {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.get(field) {
                new[field] = value.clone();
            }
        }
    } else if text(new, "clusterIP").is_empty() {
        new["clusterIP"] = given.first().map_or("", String::as_str).into();
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if new.get(field).is_none_or(Value::is_null)
            && let Some(value) = old.get(field)
        {
            new[field] = value.clone();
        }
    }
    // Back to one family: what only the old state named goes.
    if text(new, "ipFamilyPolicy") == "SingleStack" {
        for field in ["ipFamilies", "clusterIPs"] {
            if new.get(field) == old.get(field)
                && let Some(list) = new.get_mut(field).and_then(Value::as_array_mut)
            {
                list.truncate(1);
            }
        }
    }
}

/// Decides families and addresses and writes them.
pub(super) fn assign(
    desk: &mut Desk<'_>,
    spec: &mut Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    if is_external_name(spec) {
        if let Some(spec) = object(spec) {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                spec.remove(field);
            }
        }
        return Ok(());
    }
    let given = given_addresses(spec)?;
    check_unchanged(&given, old)?;
    let headless = given.first().is_some_and(|first| first == "None");
    let families = families(desk, spec, &given, headless)?;
    let policy = match text(spec, "ipFamilyPolicy") {
        "" if families.len() > 1 => "RequireDualStack".to_owned(),
        "" => "SingleStack".to_owned(),
        named => named.to_owned(),
    };
    let addresses = if headless {
        vec!["None".to_owned()]
    } else {
        take_addresses(desk, &families, &given)?
    };
    spec["clusterIP"] = addresses.first().map_or("", String::as_str).into();
    spec["clusterIPs"] = json!(addresses);
    spec["ipFamilies"] = json!(families);
    spec["ipFamilyPolicy"] = policy.into();
    Ok(())
}

fn given_addresses(spec: &Value) -> Result<Vec<String>, Refusal> {
    let (first, all) = (text(spec, "clusterIP"), strings(spec, "clusterIPs"));
    if all.is_empty() {
        let one = (!first.is_empty()).then(|| first.to_owned());
        return Ok(one.into_iter().collect());
    }
    if !first.is_empty() && all[0] != first {
        let why = "first value must match `clusterIP`";
        return Err(invalid("spec.clusterIPs", &json!(all), why).into());
    }
    if all.len() > 2 {
        let why = "may only hold up to 2 values";
        return Err(invalid("spec.clusterIPs", &json!(all), why).into());
    }
    Ok(all)
}

/// The first address of a Service is for life, unless it had none.
fn check_unchanged(given: &[String], old: Option<&Value>) -> Result<(), Refusal> {
    let Some(old) = old.filter(|old| !is_external_name(old)) else {
        return Ok(());
    };
    let before = strings(old, "clusterIPs");
    let (before, now) = (before.first(), given.first());
    if before.is_some() && before != now {
        let why = "may not change once set";
        return Err(invalid("spec.clusterIPs[0]", &json!(now), why).into());
    }
    Ok(())
}

fn families(
    desk: &Desk<'_>,
    spec: &Value,
    given: &[String],
    headless: bool,
) -> Result<Vec<String>, Refusal> {
    let configured = desk.pool.families();
    let mut families = strings(spec, "ipFamilies");
    for (at, address) in given.iter().enumerate().filter(|_| !headless) {
        let Some(family) = family_of(address) else {
            let why = "must be a valid IP address";
            return Err(invalid(format!("spec.clusterIPs[{at}]"), &json!(address), why).into());
        };
        match families.get(at) {
            Some(named) if named != family => {
                let why = format!("expected an {named} value as indicated by `ipFamilies[{at}]`");
                return Err(
                    invalid(format!("spec.clusterIPs[{at}]"), &json!(address), &why).into(),
                );
            }
            Some(_) => {}
            None => families.push(family.to_owned()),
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    let unselected = headless && spec.get("selector").is_none_or(|s| *s == json!({}));
    if families.is_empty() {
        families.push(configured[0].to_owned());
        if policy.is_empty() && unselected {
            // Nobody can know what its endpoints will be.
            families.extend(configured.get(1).map(|family| (*family).to_owned()));
        }
    } else if families.len() > 1 && !matches!(policy, "PreferDualStack" | "RequireDualStack") {
        let why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are \
                   specified";
        return Err(invalid("spec.ipFamilyPolicy", &json!(policy), why).into());
    }
    for (at, family) in families.iter().enumerate() {
        if !configured.contains(&family.as_str()) {
            let why = "not configured on this cluster";
            return Err(invalid(format!("spec.ipFamilies[{at}]"), &json!(family), why).into());
        }
    }
    if matches!(policy, "PreferDualStack" | "RequireDualStack") && families.len() == 1 {
        let other = configured.iter().find(|family| ***family != *families[0]);
        families.extend(other.map(|family| (*family).to_owned()));
    }
    if policy == "RequireDualStack" && families.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        return Err(invalid("spec.ipFamilyPolicy", &json!(policy), why).into());
    }
    Ok(families)
}

fn take_addresses(
    desk: &mut Desk<'_>,
    families: &[String],
    given: &[String],
) -> Result<Vec<String>, Refusal> {
    let mut addresses = Vec::new();
    for (at, family) in families.iter().enumerate() {
        let Some(wanted) = given.get(at) else {
            let address = desk
                .pool
                .free_address(family)
                .ok_or(Refusal::Full("a serviceIP"))?;
            desk.take(Item::Address(address));
            addresses.push(address.to_string());
            continue;
        };
        let field = format!("spec.clusterIPs[{at}]");
        let Ok(address) = wanted.parse::<IpAddr>() else {
            return Err(invalid(field, &json!(wanted), "must be a valid IP address").into());
        };
        if let Some(range) = desk.pool.outside(address) {
            let why = format!(
                "failed to allocate IP {address}: the provided IP ({address}) is not in the valid \
                 range. The range of valid IPs is {range}"
            );
            return Err(invalid(field, &json!(wanted), &why).into());
        }
        if !desk.take(Item::Address(address)) {
            let why = format!("failed to allocate IP {address}: provided IP is already allocated");
            return Err(invalid(field, &json!(wanted), &why).into());
        }
        addresses.push(address.to_string());
    }
    Ok(addresses)
}
