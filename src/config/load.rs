//! From the sources of a configuration to the configuration.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::decode::Decoder;
use super::error::{ConfigError, Finding, Origin};
use super::fields;
use super::sections;
use super::tree::Node;
use super::{Config, Keyring, Store};

/// The longest file read: more than enough for 100,000 users.
const LONGEST_FILE: u64 = 64 * 1024 * 1024;

/// Where a configuration comes from. Flags win over the environment, that over the file, and that
/// over the defaults.
pub struct Sources<'a> {
    file: File,
    variable: &'a dyn Fn(&str) -> Option<String>,
    variables: Vec<String>,
    read: &'a dyn Fn(&Path) -> io::Result<Zeroizing<Vec<u8>>>,
    overrides: Vec<Override>,
}

enum File {
    None,
    Path(PathBuf),
    Text {
        name: String,
        text: Zeroizing<String>,
    },
}

/// A value given as a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The field, `server.listen` say.
    pub field: &'static str,
    /// The flag, `--listen` say.
    pub flag: &'static str,
    /// The value.
    pub value: String,
}

impl<'a> Sources<'a> {
    /// No file and no flags yet. `variable` gives an environment variable, `read` the content of
    /// a file: [`read_file`] outside of tests. A variable that is set but empty counts as not set,
    /// except where the file names it as `${NAME}`.
    #[must_use]
    pub fn new(
        variable: &'a dyn Fn(&str) -> Option<String>,
        read: &'a dyn Fn(&Path) -> io::Result<Zeroizing<Vec<u8>>>,
    ) -> Self {
        Self {
            file: File::None,
            variable,
            variables: Vec::new(),
            read,
            overrides: Vec::new(),
        }
    }

    /// Reads the file at `path`. Relative paths within it start at its folder.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = File::Path(path.into());
        self
    }

    /// Takes `text` for the file, which messages call `name`.
    #[must_use]
    pub fn with_text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.file = File::Text {
            name: name.into(),
            text: Zeroizing::new(text.into()),
        };
        self
    }

    /// The names of all environment variables, so that a misspelt `SEALGATE_…` is noticed.
    #[must_use]
    pub fn with_variable_names(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.variables = names.into_iter().collect();
        self
    }

    /// Values given as flags.
    #[must_use]
    pub fn with_overrides(mut self, overrides: impl IntoIterator<Item = Override>) -> Self {
        self.overrides = overrides.into_iter().collect();
        self
    }
}

impl std::fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// A configuration, and what should be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<T = Config> {
    /// What was loaded.
    pub config: T,
    /// What works, but is probably not meant, or not safe.
    pub warnings: Vec<Finding>,
}

impl Config {
    /// Loads and checks a whole configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem found.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigError> {
        load(sources, sections::config)
    }
}

impl Keyring {
    /// Loads and checks the `keyring` section alone, to open objects offline.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem found there.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded<Self>, ConfigError> {
        load(sources, sections::keyring_alone)
    }
}

impl Store {
    /// Loads and checks the `store` section alone, to ask the store what it can do.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem found there.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded<Self>, ConfigError> {
        load(sources, sections::store_alone)
    }
}

/// Reads a file that configuration names, up to a size that none of them has.
///
/// # Errors
///
/// Those of the system, and [`io::ErrorKind::FileTooLarge`].
pub fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    let mut content = Zeroizing::new(Vec::new());
    // Reserved up front, so that growing leaves no copy of a secret behind.
    let length = file.metadata()?.len().min(LONGEST_FILE);
    content.reserve_exact(usize::try_from(length).unwrap_or(0).saturating_add(1));
    file.take(LONGEST_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LONGEST_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

fn load<T>(
    sources: &Sources<'_>,
    decode: impl FnOnce(&mut Decoder<'_>, &Node) -> Option<T>,
) -> Result<Loaded<T>, ConfigError> {
    let (name, base, text) = open(sources)?;
    let mut tree = match Node::parse(&text) {
        Ok(tree) => tree,
        Err(malformed) => {
            return Err(ConfigError::new(vec![Finding {
                file: name,
                origin: malformed.origin,
                field: String::new(),
                what: format!("is not valid YAML: {}", malformed.what),
                instead: "Texts with special characters stand in quotes.".to_owned(),
            }]));
        }
    };
    drop(text);

    let from_environment = fields::all()
        .filter_map(|field| {
            let variable = fields::variable_of(field);
            let value = Zeroizing::new((sources.variable)(&variable)?);
            (!value.is_empty()).then_some((field, value, Origin::Variable(variable)))
        })
        .collect();
    fields::lay_over(&mut tree, from_environment);
    let from_flags = sources
        .overrides
        .iter()
        .map(|given| {
            let value = Zeroizing::new(given.value.clone());
            (given.field, value, Origin::Flag(given.flag))
        })
        .collect();
    fields::lay_over(&mut tree, from_flags);

    let mut decoder = Decoder::new(sources.variable, sources.read, name, base);
    let config = decode(&mut decoder, &tree);
    let unknown = sources
        .variables
        .iter()
        .filter(|name| fields::is_unknown_variable(name));
    for name in unknown {
        decoder.warn_of_variable(name);
    }
    decoder.finish(config)
}

type Opened = (Option<Arc<str>>, Option<PathBuf>, Zeroizing<String>);

fn open(sources: &Sources<'_>) -> Result<Opened, ConfigError> {
    match &sources.file {
        File::None => Ok((None, None, Zeroizing::new(String::new()))),
        File::Text { name, text } => Ok((Some(name.as_str().into()), None, text.clone())),
        File::Path(path) => {
            let name: Arc<str> = path.display().to_string().into();
            let failed = |what: String, instead: &str| {
                ConfigError::new(vec![Finding {
                    file: Some(Arc::clone(&name)),
                    origin: Origin::Nowhere,
                    field: String::new(),
                    what,
                    instead: instead.to_owned(),
                }])
            };
            let content = (sources.read)(path).map_err(|error| {
                failed(
                    format!("cannot be read: {error}"),
                    "Name a file that the gateway may read.",
                )
            })?;
            let text = std::str::from_utf8(&content)
                .map_err(|_| failed("is not UTF-8 text".to_owned(), "Save it as UTF-8."))?;
            let text = Zeroizing::new(text.to_owned());
            Ok((
                Some(Arc::clone(&name)),
                path.parent().map(Path::to_path_buf),
                text,
            ))
        }
    }
}
