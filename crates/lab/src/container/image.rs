//! What an image means in a lab, which has no registry: the name decides what runs.
//!
//! `seaway` is the tool image. With any other name the container's command is a program of this
//! machine; the name is only a name then.

use thiserror::Error;

/// The name of the tool image.
const TOOL_IMAGE: &str = "seaway";
const ENTRYPOINT: [&str; 2] = ["seaway", "tool"];
const DEFAULT_ARGS: [&str; 5] = ["serve", "--http", "8080", "--echo", "7777"];

/// Why a container of this image cannot be started; it waits with this reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ImageError {
    /// There is nothing that could be run.
    #[error(
        "a lab has no registry, so the image \"{0}\" cannot be pulled; give the container a `command`, which is then looked up among this machine's programs, or use the image \"{TOOL_IMAGE}\""
    )]
    NotPulled(String),
    /// No runtime would take this name.
    #[error("\"{0}\" is no image name: it is to be like name, name:tag or host/path/name:tag")]
    Name(String),
    /// The first word of the command is empty.
    #[error("the command's first word is empty: it is to name a program")]
    Command,
}

impl ImageError {
    /// The reason as Kubernetes users know it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            ImageError::NotPulled(_) => "ErrImagePull",
            ImageError::Name(_) => "InvalidImageName",
            ImageError::Command => "CreateContainerConfigError",
        }
    }
}

/// What to run for a container.
///
/// 1. A `command` takes the place of the image's entrypoint *and* of its arguments.
/// 2. `args` alone take the place of the image's arguments.
/// 3. With neither, the image runs as it is.
pub(crate) fn resolve(
    image: &str,
    command: &[String],
    args: &[String],
) -> Result<Vec<String>, ImageError> {
    let (repository, tag) = split(image);
    if !is_repository(repository) || !tag.is_none_or(is_tag) {
        return Err(ImageError::Name(image.to_owned()));
    }
    match (command, args) {
        ([], _) if repository != TOOL_IMAGE => Err(ImageError::NotPulled(image.to_owned())),
        ([], []) => Ok(words(&ENTRYPOINT, &owned(&DEFAULT_ARGS))),
        ([], args) => Ok(words(&ENTRYPOINT, args)),
        ([first, ..], _) if first.is_empty() => Err(ImageError::Command),
        (command, args) => Ok([command, args].concat()),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn words(first: &[&str], rest: &[String]) -> Vec<String> {
    [owned(first), rest.to_vec()].concat()
}

/// Repository and tag or digest. A colon before the last slash belongs to a port.
fn split(image: &str) -> (&str, Option<&str>) {
    if let Some((repository, digest)) = image.split_once('@') {
        let (repository, _) = split(repository);
        return (repository, Some(digest));
    }
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name..].find(':') {
        Some(colon) => (&image[..name + colon], Some(&image[name + colon + 1..])),
        None => (image, None),
    }
}

fn is_repository(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:".contains(c);
    text.split('/')
        .all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(fine))
}

fn is_tag(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    !text.is_empty() && text.len() <= 256 && text.chars().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        Result<String, &'static str>,
    );

    fn resolved(image: &str, command: &[&str], args: &[&str]) -> Result<String, &'static str> {
        resolve(image, &owned(command), &owned(args))
            .map(|argv| argv.join(" "))
            .map_err(|e| e.reason())
    }

    #[test]
    fn image_command_and_args_decide_what_runs() {
        let serve = Ok("seaway tool serve --http 8080 --echo 7777".to_owned());
        let run = |text: &str| Ok(text.to_owned());
        let table: [Case; 17] = [
            ("seaway", &[], &[], serve.clone()),
            ("seaway:v1", &[], &[], serve.clone()),
            ("seaway:latest", &[], &["pause"], run("seaway tool pause")),
            ("seaway", &["sleep"], &[], run("sleep")),
            ("seaway", &["sleep"], &["1"], run("sleep 1")),
            ("nginx", &["sh", "-c"], &["true"], run("sh -c true")),
            ("nginx", &[], &[], Err("ErrImagePull")),
            ("nginx", &[], &["-g"], Err("ErrImagePull")),
            ("other.test/seaway", &[], &[], Err("ErrImagePull")),
            ("reg.test:5000/a/b:1.2_x", &["true"], &[], run("true")),
            ("a@sha256:0123abcd", &["true"], &[], run("true")),
            ("a:1@sha256:0123abcd", &["true"], &[], run("true")),
            ("", &["true"], &[], Err("InvalidImageName")),
            ("Nginx", &["true"], &[], Err("InvalidImageName")),
            ("a b", &["true"], &[], Err("InvalidImageName")),
            ("a:", &["true"], &[], Err("InvalidImageName")),
            ("nginx", &[""], &[], Err("CreateContainerConfigError")),
        ];
        for (image, command, args, expected) in table {
            assert_eq!(
                resolved(image, command, args),
                expected,
                "{image:?} {command:?} {args:?}"
            );
        }
    }

    #[test]
    fn who_misses_a_registry_is_told_what_to_do() {
        let error = resolve("nginx:1.29", &[], &[]).expect_err("there is no registry");
        let text = error.to_string();
        for part in ["no registry", "nginx:1.29", "`command`", "\"seaway\""] {
            assert!(text.contains(part), "{text}");
        }
    }
}
