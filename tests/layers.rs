//! Data flows one way through the modules, and so do their imports: `src/lib.rs` draws the picture, this
//! test holds the code to it.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import from the others. A module that is not here may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    // The bottom: bytes to bytes.
    ("aead", &[]),
    ("digest", &[]),
    ("protocol", &[]),
    ("secret", &[]),
    ("telemetry", &[]),
    // Keys know nothing of S3, envelopes nothing of HTTP.
    ("keys", &["aead"]),
    ("envelope", &["aead", "keys"]),
    // Who asks, and what they may.
    ("auth", &["digest", "protocol", "secret"]),
    ("policy", &["secret"]),
    // Streams. Of `auth` it takes what verifies chunk signatures.
    ("pump", &["aead", "auth", "digest", "protocol", "telemetry"]),
    ("formats", &["aead", "envelope", "keys", "protocol", "pump"]),
    // Stored bytes on their way, and no more.
    ("spool", &["pump", "telemetry"]),
    // The store sees opaque bytes: no key, no format.
    ("store", &["auth", "protocol", "pump", "telemetry"]),
    // Operations get a permit. They see neither HTTP server nor signatures nor configuration.
    (
        "s3",
        &[
            "aead",
            "envelope",
            "formats",
            "keys",
            "policy",
            "protocol",
            "pump",
            "spool",
            "store",
            "telemetry",
        ],
    ),
    // HTTP as clients speak it, and the one map from failures to S3's codes.
    (
        "wire",
        &[
            "auth",
            "formats",
            "keys",
            "policy",
            "protocol",
            "pump",
            "s3",
            "spool",
            "store",
            "telemetry",
        ],
    ),
    // Beside the way of a request.
    ("admin", &["telemetry"]),
    (
        "config",
        &["keys", "policy", "protocol", "secret", "telemetry"],
    ),
    ("embedded", &[]),
    // The composition root, and the commands that start it.
    (
        "gateway",
        &[
            "admin",
            "aead",
            "auth",
            "config",
            "formats",
            "keys",
            "policy",
            "protocol",
            "pump",
            "s3",
            "secret",
            "spool",
            "store",
            "telemetry",
            "wire",
        ],
    ),
    (
        "commands",
        &[
            "aead",
            "config",
            "embedded",
            "envelope",
            "formats",
            "gateway",
            "keys",
            "protocol",
            "pump",
            "s3",
            "secret",
            "store",
            "telemetry",
            "wire",
        ],
    ),
    ("main", &["commands", "config"]),
    ("lib", &[]),
];

#[test]
fn imports_run_in_one_direction() {
    let mut wrong = Vec::new();
    for (module, imports) in imports() {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("src/{module} has no place among the layers"));
            continue;
        };
        for (import, file) in imports {
            if import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports crate::{import}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_allowed_edges_have_no_cycle() {
    fn visit<'a>(module: &'a str, path: &mut Vec<&'a str>) {
        assert!(!path.contains(&module), "{path:?} leads back to {module}");
        path.push(module);
        let edges = ALLOWED.iter().find(|(name, _)| *name == module).unwrap().1;
        for edge in edges {
            visit(edge, path);
        }
        path.pop();
    }
    for (module, _) in ALLOWED {
        visit(module, &mut Vec::new());
    }
}

/// An edge that nothing uses would let one in unseen.
#[test]
fn every_module_of_the_picture_is_there() {
    let found: BTreeSet<String> = imports().into_keys().collect();
    for (module, _) in ALLOWED {
        assert!(found.contains(*module), "there is no src/{module}");
    }
}

#[test]
fn the_scan_sees_imports_in_all_their_forms() {
    let source = "
        use crate::aead::{Dek, Engine}; // use crate::commented
        use crate::{keys::KeyId, pump, s3::{self, Kind}};
        fn f() { crate::telemetry::metrics::bytes(); let x: Vec<crate::store::Store>; }
        /// [`crate::documented`]
        pub(crate) fn g() {}
        #[cfg(test)]
        mod tests {
            use crate::envelope;
            fn h() { if true { crate::wire::x() } }
        }
        fn i() -> crate::policy::Permit {}
        const TARGET: &str = \"crate::quoted\";
    ";
    let found: Vec<String> = crate_paths(&without_tests(source)).into_iter().collect();
    assert_eq!(
        found,
        ["aead", "keys", "policy", "pump", "s3", "store", "telemetry"]
    );
}

/// By module: what it imports, and one file that does.
fn imports() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for file in files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let module = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let imports = found
            .entry(module.trim_end_matches(".rs").to_owned())
            .or_default();
        if relative.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        // The binary names the library.
        let text = fs::read_to_string(&file)
            .unwrap()
            .replace("sealgate::", "crate::");
        for import in crate_paths(&without_tests(&text)) {
            imports.entry(import).or_insert_with(|| relative.to_owned());
        }
    }
    assert!(found.len() > 10, "the sources were not found");
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The source without comments and without what is compiled for tests only.
fn without_tests(source: &str) -> String {
    let mut kept = String::new();
    // Indentation of the attribute, while what it stands before is skipped.
    let mut skipping: Option<usize> = None;
    for line in source.lines() {
        let code = without_texts(line.split("//").next().unwrap_or_default());
        let indentation = line.len() - line.trim_start().len();
        match skipping {
            // An item ends at a closing brace, or a semicolon, as far left as it began.
            Some(depth) => {
                let end = code.trim_end().ends_with(['}', ';']);
                if !code.trim().is_empty() && indentation <= depth && end {
                    skipping = None;
                }
            }
            None if code.trim_start().starts_with("#[cfg(test)]") => skipping = Some(indentation),
            None => {
                kept.push_str(&code);
                kept.push('\n');
            }
        }
    }
    kept
}

/// The line without what stands between double quotes.
fn without_texts(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// The first names behind `crate::`.
fn crate_paths(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut piece = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.extend(first_name(&std::mem::take(&mut piece)));
                        continue;
                    }
                    _ => {}
                }
                piece.push(c);
            }
            found.extend(first_name(&piece));
        } else {
            found.extend(first_name(rest));
        }
    }
    found
}

fn first_name(path: &str) -> Option<String> {
    let name: String = path
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}
