//! `CNI_ARGS`: pairs `KEY=VALUE` joined by semicolons, read as the reference library reads them
//! (`types.LoadArgs`): every pair has exactly one `=`, keys are case-sensitive, the last of a key
//! counts, and an unknown key is an error unless `IgnoreUnknown` is true.

use seaway_model::PodName;

use super::error::{CniError, code};

/// What Kubernetes runtimes say of the Pod in `CNI_ARGS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodArgs {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `K8S_POD_NAME`.
    pub name: Option<String>,
    /// `K8S_POD_UID`.
    pub uid: Option<String>,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container_id: Option<String>,
}

impl PodArgs {
    /// Reads the text of `CNI_ARGS`.
    pub fn parse(text: &str) -> Result<PodArgs, CniError> {
        let mut args = PodArgs::default();
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            let (key, value) = split_pair(pair)?;
            match args.field(key) {
                Some(field) => *field = Some(value.to_owned()).filter(|v| !v.is_empty()),
                None if key == "IgnoreUnknown" => ignore_unknown = parse_bool(pair, value)?,
                None => unknown.push(pair),
            }
        }
        match unknown.is_empty() || ignore_unknown {
            true => Ok(args),
            false => Err(refused(format!(
                "has unknown arguments {unknown:?}: remove them, or add IgnoreUnknown=1"
            ))),
        }
    }

    /// The Pod, when both parts are given and it is a name that Kubernetes takes (other runtimes
    /// fill these arguments with names of their own making).
    pub fn pod(&self) -> Option<PodName> {
        PodName::new(self.namespace.as_deref()?, self.name.as_deref()?).ok()
    }

    fn field(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key {
            "K8S_POD_NAMESPACE" => Some(&mut self.namespace),
            "K8S_POD_NAME" => Some(&mut self.name),
            "K8S_POD_UID" => Some(&mut self.uid),
            "K8S_POD_INFRA_CONTAINER_ID" => Some(&mut self.infra_container_id),
            _ => None,
        }
    }
}

fn split_pair(pair: &str) -> Result<(&str, &str), CniError> {
    pair.split_once('=')
        .filter(|(_, value)| !value.contains('='))
        .ok_or_else(|| refused(format!("has the pair {pair:?}: write it KEY=VALUE")))
}

fn parse_bool(pair: &str, value: &str) -> Result<bool, CniError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(refused(format!(
            "has the pair {pair:?}: IgnoreUnknown is 1, true, 0 or false"
        ))),
    }
}

fn refused(problem: String) -> CniError {
    CniError::new(code::INVALID_ENVIRONMENT, format!("CNI_ARGS {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn k1_arguments_of_kubernetes_runtimes_are_read() {
        let args = PodArgs::parse(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u-1;\
             K8S_POD_INFRA_CONTAINER_ID=c1;COLOUR=blue",
        )
        .expect("valid");
        assert_eq!(args.pod().expect("a Pod").to_string(), "shop/web-0");
        assert_eq!(args.uid.as_deref(), Some("u-1"));
        assert_eq!(args.infra_container_id.as_deref(), Some("c1"));
    }

    #[test]
    fn k1_no_arguments_and_empty_values_are_fine() {
        assert_eq!(PodArgs::parse(""), Ok(PodArgs::default()));
        let args = PodArgs::parse("K8S_POD_NAME=;K8S_POD_NAMESPACE=x").expect("valid");
        assert_eq!((args.pod(), args.namespace.as_deref()), (None, Some("x")));
    }

    #[test]
    fn k15_names_that_are_not_of_kubernetes_are_no_pod() {
        let args = PodArgs::parse("K8S_POD_NAMESPACE=My_Box;K8S_POD_NAME=My_Box").expect("valid");
        assert_eq!(args.pod(), None);
        assert_eq!(args.name.as_deref(), Some("My_Box"));
    }

    #[test]
    fn k1_bad_pairs_are_code_4_and_named() {
        for (text, named) in [
            ("K8S_POD_NAME", "\"K8S_POD_NAME\""),
            ("A=1;;B=2", "\"\""),
            ("A=b=c;IgnoreUnknown=1", "\"A=b=c\""),
            ("IgnoreUnknown=yes", "IgnoreUnknown=yes"),
            ("COLOUR=blue", "COLOUR=blue"),
            ("COLOUR=blue;IgnoreUnknown=false", "COLOUR=blue"),
            ("k8s_pod_name=x", "k8s_pod_name=x"),
            (";", "\"\""),
        ] {
            let error = PodArgs::parse(text).expect_err(text);
            assert_eq!(error.code, 4, "{error}");
            assert!(error.msg.contains(named), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = PodArgs::parse(&text);
        }
    }
}
