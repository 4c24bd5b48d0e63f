//! The layers of the source: a file uses only what stands below it, atomics
//! have one home, and `unsafe` has few, each with its reason.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

/// From the lowest to the highest; those of one row may use each other.
const ROWS: [&[&str]; 17] = [
    &["sync"],
    &["word"],
    &["time", "error", "limit", "decision", "options"],
    &["window"],
    &["slots"],
    &["permits"],
    &["table"],
    &["hash"],
    &["layout"],
    &["region"],
    &["clock", "shm"],
    &["process"],
    &["limiter"],
    &["plan"],
    &["admit"],
    &["http"],
    &["ffi"],
];
/// Neighbours that do not know each other, whatever their order.
const STRANGERS: [(&str, &str); 1] = [("http", "plan")];
/// Where the names come from that the crate's root gives to its users.
const EXPORTS: [(&str, &str); 16] = [
    ("Error", "error"),
    ("Policy", "limit"),
    ("Decision", "decision"),
    ("Outcome", "decision"),
    ("ClockKind", "options"),
    ("OnFull", "options"),
    ("Options", "options"),
    ("OpenError", "shm"),
    ("Admission", "admit"),
    ("Limiter", "limiter"),
    ("Request", "limiter"),
    ("Acquired", "limiter"),
    ("Held", "limiter"),
    ("Permit", "limiter"),
    ("Released", "limiter"),
    ("Stats", "limiter"),
];
const ATOMICS: [&str; 1] = ["sync"];
const UNSAFE: [&str; 5] = ["region", "clock", "shm", "process", "ffi"];

/// A source file, by its layer; its code has no comments, no strings' contents
/// and no tests.
struct Source {
    name: String,
    layer: String,
    text: String,
    code: Vec<String>,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        let layer = name.split(['/', '.']).next().unwrap();
        Self {
            name: name.into(),
            layer: layer.into(),
            text: text.into(),
            code: without_tests(&without_comments(text)),
        }
    }
}

/// The same lines, without comments and the contents of strings.
fn without_comments(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut in_string = false;
    for line in text.lines() {
        let mut code = String::new();
        let mut rest = line.chars().peekable();
        while let Some(letter) = rest.next() {
            match letter {
                '\\' if in_string => {
                    rest.next();
                }
                '\'' if !in_string && rest.peek() == Some(&'"') => {
                    rest.next();
                }
                '"' => in_string = !in_string,
                _ if in_string => {}
                '/' if rest.peek() == Some(&'/') => break,
                _ => code.push(letter),
            }
        }
        lines.push(code);
    }
    lines
}

/// The same lines, those of items behind `#[cfg(test)]` and its like empty.
fn without_tests(lines: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut skipping = false;
    let mut depth = 0_i64;
    for line in lines {
        if line.contains("#[cfg(test)]") || line.contains("#[cfg(all(test") {
            skipping = true;
            depth = 0;
            kept.push(String::new());
            continue;
        }
        if !skipping {
            kept.push(line.clone());
            continue;
        }
        kept.push(String::new());
        let braces = |brace| i64::try_from(line.matches(brace).count()).unwrap();
        depth = depth
            .saturating_add(braces('{'))
            .saturating_sub(braces('}'));
        let closes = line.trim_end().ends_with(['}', ';']);
        skipping = depth > 0 || !closes;
    }
    kept
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `word` stands in `line` as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|letter| !is_word(letter))
        .any(|found| found == word)
}

/// Layers that a file's code names behind `crate::`, also in a group.
fn used(code: &[String]) -> Vec<String> {
    let joined = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in joined.match_indices("crate::") {
        let rest = joined.get(at.saturating_add("crate::".len())..).unwrap();
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group_heads(group));
        } else {
            found.push(rest.split(|letter| !is_word(letter)).next().unwrap().into());
        }
    }
    found
}

/// The first names of a group's members, whose opening brace is taken.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = vec![String::new()];
    let mut depth = 0_u32;
    let mut in_head = true;
    for letter in group.chars() {
        match letter {
            '{' => depth = depth.saturating_add(1),
            '}' if depth == 0 => break,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                heads.push(String::new());
                in_head = true;
            }
            _ if depth > 0 || letter.is_whitespace() => {}
            _ if in_head && is_word(letter) => heads.last_mut().unwrap().push(letter),
            _ => in_head = false,
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn row(name: &str) -> Option<usize> {
    let export = EXPORTS.iter().find(|export| export.0 == name);
    let layer = export.map_or(name, |export| export.1);
    ROWS.iter().position(|row| row.contains(&layer))
}

/// What is wrong with a file, one line each.
fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let Source { name, layer, .. } = source;
    if layer == "lib" {
        return found;
    }
    let Some(own) = row(layer) else {
        return vec![format!("{name}: in no layer")];
    };
    for used in used(&source.code) {
        let stranger = STRANGERS.iter().any(|&(a, b)| {
            (a, b) == (layer.as_str(), used.as_str()) || (b, a) == (layer.as_str(), used.as_str())
        });
        match row(&used) {
            Some(other) if other <= own && !stranger => {}
            Some(_) => found.push(format!("{name}: {layer} uses {used}")),
            None => found.push(format!("{name}: uses {used}, which is in no layer")),
        }
    }
    let lines: Vec<&str> = source.text.lines().collect();
    for (index, code) in source.code.iter().enumerate() {
        let number = index.saturating_add(1);
        if code.contains("Ordering::") && !ATOMICS.contains(&layer.as_str()) {
            found.push(format!("{name}:{number}: an ordering outside sync"));
        }
        if !has_word(code, "unsafe") {
            continue;
        }
        if !UNSAFE.contains(&layer.as_str()) {
            found.push(format!("{name}:{number}: unsafe in {layer}"));
        }
        let acts = code.contains("unsafe {") || code.contains("unsafe impl");
        if acts && !has_reason(lines.get(..index).unwrap()) {
            found.push(format!("{name}:{number}: unsafe without SAFETY"));
        }
    }
    found
}

/// Whether the comment that stands right above says SAFETY. Between them may
/// be attributes and the beginning of the same statement.
fn has_reason(above: &[&str]) -> bool {
    let mut in_comment = false;
    for line in above.iter().rev().map(|line| line.trim()) {
        if line.starts_with("//") {
            in_comment = true;
            if line.contains("SAFETY:") {
                return true;
            }
        } else if in_comment || line.is_empty() || line.ends_with(['}', ';']) {
            return false;
        }
    }
    false
}

fn collect(directory: &Path, root: &Path, sources: &mut Vec<Source>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            sources.push(Source::new(name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn no_file_uses_a_higher_layer_and_unsafe_and_atomics_stay_at_home() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    let found: Vec<_> = sources.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    // Every layer was seen, and the checker sees what is there.
    for layer in ROWS.iter().copied().flatten() {
        assert!(
            sources.iter().any(|source| source.layer == *layer),
            "{layer}"
        );
    }
    let somewhere = |what: &str| {
        sources
            .iter()
            .any(|source| source.code.iter().any(|line| line.contains(what)))
    };
    assert!(somewhere("unsafe") && somewhere("Ordering::"));
    let uses = sources.iter().map(|source| used(&source.code).len());
    assert!(uses.sum::<usize>() > 50);
}

fn of(name: &str, text: &str) -> Vec<String> {
    violations(&Source::new(name, text))
}

#[test]
fn the_checker_finds_what_is_planted() {
    for (name, text, violation) in [
        ("word.rs", "use crate::window::Window;", "word uses window"),
        ("word.rs", "fn f() { crate::table::g() }", "word uses table"),
        (
            "table.rs",
            "use crate::{sync::Word, region};",
            "table uses region",
        ),
        (
            "table.rs",
            "use crate::{\n    sync::{a, b},\n    shm::{c},\n};",
            "table uses shm",
        ),
        ("http.rs", "use crate::plan::Plan;", "http uses plan"),
        (
            "plan/file.rs",
            "use crate::http::Response;",
            "plan uses http",
        ),
        ("limiter.rs", "use crate::ffi;", "limiter uses ffi"),
        ("table.rs", "use crate::OpenError;", "table uses OpenError"),
        (
            "word.rs",
            "use crate::nobody;",
            "uses nobody, which is in no layer",
        ),
        ("stray.rs", "", "in no layer"),
        (
            "table.rs",
            "x.load(Ordering::Relaxed)",
            "an ordering outside sync",
        ),
        (
            "window.rs",
            "// SAFETY: none\nunsafe { f() }",
            "unsafe in window",
        ),
        (
            "shm.rs",
            "let a = 1;\nunsafe { f() }",
            "unsafe without SAFETY",
        ),
        (
            "shm.rs",
            "// SAFETY: of another\nlet a = 1;\nunsafe impl A for B {}",
            "unsafe without SAFETY",
        ),
        (
            "shm.rs",
            "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::limiter;",
            "shm uses limiter",
        ),
    ] {
        let found = of(name, text);
        let expected = found.iter().any(|found| found.ends_with(violation));
        assert!(expected && found.len() == 1, "{found:?}: {text}");
    }
}

#[test]
fn the_checker_lets_through_what_is_allowed() {
    for (name, text) in [
        (
            "error.rs",
            "use crate::word::MAX_LIMIT;\nuse crate::options::A;",
        ),
        ("clock.rs", "use crate::{shm, sync::Word};"),
        ("ffi/check.rs", "use crate::{http, plan, limiter};"),
        (
            "word.rs",
            "// crate::window\n/// [`x`](crate::limiter::X) unsafe",
        ),
        (
            "word.rs",
            "const A: &str = \"unsafe crate::shm \\\" Ordering::\";",
        ),
        ("word.rs", "#![deny(unsafe_code)]"),
        (
            "word.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::limiter;\n}",
        ),
        ("sync.rs", "x.load(Ordering::Relaxed)"),
        ("shm.rs", "// SAFETY: known\nunsafe impl A for B {}"),
        (
            "shm.rs",
            "// SAFETY: known\n#[inline]\nlet a =\n    unsafe { f() };",
        ),
        ("shm.rs", "pub unsafe fn f() {}"),
        (
            "ffi/mod.rs",
            "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn f() {}",
        ),
        ("ffi/mod.rs", "fn f(error: crate::OpenError) {}"),
    ] {
        assert_eq!(of(name, text), [""; 0], "{text}");
    }
}
