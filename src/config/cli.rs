//! The command line: what can be typed. Nothing here is executed.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::load::Override;

/// An S3 encryption gateway: clients speak plain S3 to it, the store only ever holds ciphertext.
#[derive(Debug, Parser)]
#[command(name = "sealgate", version, about, max_term_width = 100)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try it out: a gateway over a store in a local folder, ready at once
    ///
    /// Keys and credentials are made on the first start and kept in the folder. Prints lines to
    /// paste for aws, rclone and restic. Not for production: the store is a folder, and its keys
    /// lie beside it.
    Dev(Dev),
    /// Run the gateway in front of a store
    Serve(Serve),
    /// Make a key-encryption key
    ///
    /// Writes 32 random bytes in base64. Keep a copy apart from the store: without it, nothing
    /// that it sealed can ever be opened again.
    Keygen(Keygen),
    /// Look at configurations
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a store whether it keeps what the gateway takes for granted
    ///
    /// Writes and deletes a few small objects in a bucket, and says for each property whether the
    /// store has it and what is weaker where it has not.
    CheckStore(CheckStore),
    /// Remove what interrupted uploads left in the store
    ///
    /// Parts that wait for an upload's completion stand as temporary objects under the reserved prefix. Those of
    /// uploads that were completed or aborted are removed; uploads in progress are kept, unless --older-than ends them.
    Gc(Gc),
    /// Seal objects that are there already: legacy ones, those of other gateways, plaintext
    ///
    /// Whatever the configuration lets be read becomes an object of the current format, in its place or in another bucket.
    /// Each object is replaced in one step, and only if no client has written it meanwhile, so the gateway can go on serving.
    /// Can be killed at any moment: begun again, it leaves alone what is done. MIGRATION.md has a runbook.
    Migrate(Migrate),
    /// Wrap the keys of sealed objects anew, after a key or the recipients of a bucket changed
    ///
    /// Each object whose envelope is not the one that a new write would get is given that one, by a copy onto itself at the
    /// store: no content moves. Can be killed at any moment and begun again, and run while the gateway serves. In a bucket
    /// that keeps versions each such object gets a new version, and the one before stays under its old keys. Access lists of
    /// single objects are not kept, and the time of the last change is new.
    Rewrap(Rewrap),
    /// Read every object of a bucket, authenticate all of it, and say which are damaged
    ///
    /// Holds the content against the MD5 and checksum that were noted when it was written, too. Shows nothing of it, and
    /// writes nothing. Exits with 1 where an object does not verify.
    Verify(Verify),
    /// Say what a sealed object is: a raw copy of its bytes, or one at the store
    ///
    /// Of a file it says what stands in its head, for which no key is needed. Of s3://BUCKET/KEY it says what the gateway
    /// would find there, with its keys: for whom it is sealed, whether it belongs there, what its footer says. Exits with 1
    /// where the object would be refused.
    Inspect(Inspect),
    /// Open a sealed object offline, from a raw copy of its bytes and the keyring alone
    Open(Open),
}

/// Arguments of `sealgate dev`.
#[derive(Args, Debug)]
pub struct Dev {
    /// Where objects, keys and credentials are kept
    #[arg(long, value_name = "DIR", default_value = "./sealgate-data")]
    pub data: PathBuf,
    /// The address for S3 clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The address for /healthz, /readyz and /metrics [default: none]
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// Write endpoint, region, access key and secret key to this file as JSON, once ready; and those of the store behind
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `sealgate serve`.
#[derive(Args, Debug)]
pub struct Serve {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// What flags say in its place.
    #[command(flatten)]
    pub flags: Flags,
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", value_name = "FILE", env = "SEALGATE_CONFIG")]
    pub path: PathBuf,
}

/// Flags that win over environment and file.
#[derive(Args, Debug, Default)]
pub struct Flags {
    /// The address for S3 clients, in place of `server.listen`
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// The address for /healthz, /readyz and /metrics, in place of `server.admin_listen`
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// The store's URL, in place of `store.endpoint`
    #[arg(long, value_name = "URL")]
    pub store_endpoint: Option<String>,
    /// error, warn, info, debug or trace, in place of `logging.level`
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// human or json, in place of `logging.format`
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl Flags {
    /// The flags that were given, for [`Sources`](super::Sources).
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        [
            ("server.listen", "--listen", &self.listen),
            ("server.admin_listen", "--admin-listen", &self.admin_listen),
            ("store.endpoint", "--store-endpoint", &self.store_endpoint),
            ("logging.level", "--log-level", &self.log_level),
            ("logging.format", "--log-format", &self.log_format),
        ]
        .into_iter()
        .filter_map(|(field, flag, value)| {
            let value = value.clone()?;
            Some(Override { field, flag, value })
        })
        .collect()
    }
}

/// Arguments of `sealgate keygen`.
#[derive(Args, Debug)]
pub struct Keygen {
    /// The file to write, or `-` for standard output. An existing file is never overwritten
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// The commands of `sealgate config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with a configuration and where, or what it comes to
    ///
    /// Takes environment variables and flags into account, as `serve` does, and reads the files
    /// that the configuration names. Shows no secrets. Exits with 1 where anything is wrong.
    Check(Check),
}

/// Arguments of `sealgate config check`.
#[derive(Args, Debug)]
pub struct Check {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// What flags say in its place.
    #[command(flatten)]
    pub flags: Flags,
}

/// Arguments of `sealgate check-store`.
#[derive(Args, Debug)]
pub struct CheckStore {
    /// The configuration; only its `store` section is read.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The bucket to use [default: one is created, and deleted at the end]
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,
}

/// Arguments of `sealgate gc`.
#[derive(Args, Debug)]
pub struct Gc {
    /// The configuration that the gateway runs with.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The bucket that the temporary objects are in; may be given several times [default: every bucket]
    #[arg(long = "bucket", value_name = "NAME")]
    pub buckets: Vec<String>,
    /// Abort uploads that were begun longer ago, such as 7d or 36h [default: abort none]
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<std::time::Duration>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A duration as the configuration spells it; at least a minute, so that nothing that has just begun is ended.
fn age(text: &str) -> Result<std::time::Duration, String> {
    match super::human::parse_duration(text) {
        Some(age) if age >= std::time::Duration::from_secs(60) => Ok(age),
        Some(_) => Err("it is less than a minute".into()),
        None => Err("write a whole number and a unit, such as 7d, 36h or 90m".into()),
    }
}

/// What all jobs over many objects take.
#[derive(Args, Debug)]
pub struct JobOptions {
    /// The configuration that the gateway runs with.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The bucket
    #[arg(long, value_name = "NAME")]
    pub bucket: String,
    /// Only keys that begin with this
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub prefix: String,
    /// Only the keys in this file, one a line; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prefix", "checkpoint"])]
    pub keys: Option<PathBuf>,
    /// Only this share of the keys, such as 0/4 on the first of four machines
    #[arg(long, value_name = "I/N", default_value = "0/1", hide_default_value = true, value_parser = share)]
    pub shard: (u32, NonZeroU32),
    /// Objects at once
    #[arg(long, value_name = "N", default_value = "16")]
    pub concurrency: std::num::NonZeroUsize,
    /// At most so many bytes of content a second, such as 100MiB [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub rate: Option<u64>,
    /// A file that remembers how far the job is, so that a later run begins there; removed when all is done
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Write what was done to this file as JSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Say what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `i/n`: one of several shares, counted from 0.
fn share(text: &str) -> Result<(u32, NonZeroU32), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(index, count)| Some((index.trim().parse().ok()?, count.trim().parse().ok()?)));
    match parsed {
        Some((index, count)) if index < NonZeroU32::get(count) => Ok((index, count)),
        Some((index, count)) => Err(format!(
            "there is no share {index} of {count}: they are counted from 0 to {}",
            count.get() - 1
        )),
        None => Err("write i/n, such as 0/4 to 3/4: the share's number, counted from 0, and how many there are".into()),
    }
}

/// A number of bytes as the configuration spells it.
fn size(text: &str) -> Result<u64, String> {
    super::human::parse_size(text)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "write a number and a unit, such as 100MiB or 1GiB".into())
}

/// Arguments of `sealgate migrate`.
#[derive(Args, Debug)]
pub struct Migrate {
    /// What all jobs take.
    #[command(flatten)]
    pub job: JobOptions,
    /// Write to this bucket, under the same keys, and leave the first one as it is; sealed objects are copied as they are
    #[arg(long, value_name = "NAME")]
    pub to_bucket: Option<String>,
    /// Only objects of this format, such as plaintext or s3proxy; may be given several times [default: every one]
    #[arg(long, value_name = "FORMAT")]
    pub from: Vec<String>,
    /// Read back each object that was sealed, and compare it with what was read before
    #[arg(long)]
    pub verify: bool,
    /// Nobody else writes to the bucket: needed with stores that keep no conditions on writes
    #[arg(long)]
    pub no_concurrent_writers: bool,
    /// Refused: says why old versions are not converted
    #[arg(long)]
    pub all_versions: bool,
}

/// Arguments of `sealgate rewrap`.
#[derive(Args, Debug)]
#[command(mut_arg("rate", |rate| rate.hide(true)))]
pub struct Rewrap {
    /// What all jobs take.
    #[command(flatten)]
    pub job: JobOptions,
    /// Take objects too that are bound to this name, as the bucket's name or bound_as was before
    #[arg(long, value_name = "NAME")]
    pub was_bound_as: Option<String>,
    /// Nobody else writes to the bucket: needed with stores that keep no conditions on copies and completions
    #[arg(long)]
    pub no_concurrent_writers: bool,
}

/// Arguments of `sealgate verify`.
#[derive(Args, Debug)]
#[command(mut_arg("dry_run", |dry_run| dry_run.hide(true)))]
pub struct Verify {
    /// What all jobs take.
    #[command(flatten)]
    pub job: JobOptions,
}

/// Arguments of `sealgate inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A raw copy of the object's bytes, as the store holds them; or s3://BUCKET/KEY
    #[arg(value_name = "OBJECT")]
    pub object: PathBuf,
    /// The configuration that the gateway runs with, for an object at the store
    #[arg(long, value_name = "FILE", env = "SEALGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Of an object at the store, this version
    #[arg(long, value_name = "ID")]
    pub version_id: Option<String>,
    /// Of an object at the store, say it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where an object is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In a file.
    File(&'a Path),
    /// At the store.
    Store {
        /// Its bucket.
        bucket: &'a str,
        /// Its key.
        key: &'a str,
    },
}

impl Inspect {
    /// Where the object is; none where it begins as one at the store and names no bucket or no key.
    #[must_use]
    pub fn place(&self) -> Option<Place<'_>> {
        match self
            .object
            .to_str()
            .and_then(|text| text.strip_prefix("s3://"))
        {
            None => Some(Place::File(&self.object)),
            Some(rest) => {
                let (bucket, key) = rest.split_once('/')?;
                let whole = !bucket.is_empty() && !key.is_empty();
                whole.then_some(Place::Store { bucket, key })
            }
        }
    }
}

/// Arguments of `sealgate open`.
#[derive(Args, Debug)]
pub struct Open {
    /// A raw copy of the object's bytes, as the store holds them
    #[arg(value_name = "FILE")]
    pub object: PathBuf,
    /// A configuration with a keyring section; or, with --key-id, a file that keygen wrote
    #[arg(long, value_name = "FILE")]
    pub keyring: PathBuf,
    /// The id of the key that --keyring holds
    #[arg(long, value_name = "ID")]
    pub key_id: Option<String>,
    /// The version of that key
    #[arg(long, value_name = "N", default_value = "1", requires = "key_id")]
    pub key_version: NonZeroU32,
    /// Where to write the content [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn dev_has_defaults() {
        let Command::Dev(dev) = parse("sealgate dev").unwrap().command else {
            panic!("another command");
        };
        assert_eq!(dev.data, PathBuf::from("./sealgate-data"));
        assert_eq!(dev.listen.to_string(), "127.0.0.1:8080");
        assert!(dev.admin_listen.is_none() && dev.json.is_none());
    }

    #[test]
    fn flags_become_overrides() {
        let line = "sealgate serve --config c.yaml --listen [::1]:1 --log-format json";
        let Command::Serve(serve) = parse(line).unwrap().command else {
            panic!("another command");
        };
        let fields: Vec<_> = serve.flags.overrides();
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[0].field, "server.listen");
        assert_eq!(fields[1].value, "json");
    }

    #[test]
    fn an_object_is_in_a_file_or_at_the_store() {
        let place = |object: &str| {
            let line = format!("sealgate inspect {object}");
            let Command::Inspect(inspect) = parse(&line).unwrap().command else {
                panic!("another command");
            };
            format!("{:?}", inspect.place())
        };
        let store = |bucket, key| format!("{:?}", Some(Place::Store { bucket, key }));
        assert_eq!(place("s3://b/k"), store("b", "k"));
        assert_eq!(place("s3://b//a//ü"), store("b", "/a//ü"));
        assert_eq!(place("s3:/b/k"), "Some(File(\"s3:/b/k\"))");
        for neither in ["s3://", "s3://b", "s3://b/", "s3:///k"] {
            assert_eq!(place(neither), "None", "{neither}");
        }
    }

    #[test]
    fn every_command_is_read() {
        for line in [
            "sealgate keygen --out -",
            "sealgate config check --config c.yaml",
            "sealgate check-store --config c.yaml --bucket b",
            "sealgate gc --config c.yaml",
            "sealgate gc --config c.yaml --bucket a --bucket b --older-than 7d --dry-run",
            "sealgate migrate --config c.yaml --bucket b",
            "sealgate migrate --config c.yaml --bucket b --prefix p/ --to-bucket other --from plaintext --from s3proxy --verify \
             --shard 3/4 --concurrency 8 --rate 100MiB --checkpoint f --report - --dry-run --no-concurrent-writers",
            "sealgate rewrap --config c.yaml --bucket b",
            "sealgate rewrap --config c.yaml --bucket b --prefix p/ --was-bound-as old --shard 0/2 --checkpoint f --report - \
             --dry-run --no-concurrent-writers",
            "sealgate verify --config c.yaml --bucket b --rate 10MiB --concurrency 4 --report r.json",
            "sealgate inspect object",
            "sealgate inspect s3://bucket/key --config c.yaml --json --version-id v",
            "sealgate open object --keyring c.yaml",
            "sealgate open object --keyring main.key --key-id main --out plain",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "sealgate",
            "sealgate keygen",
            "sealgate keygen --force --out x",
            "sealgate open object",
            "sealgate frobnicate",
            "sealgate gc --config c.yaml --older-than 5s",
            "sealgate gc --config c.yaml --older-than long",
            "sealgate migrate --config c.yaml",
            "sealgate migrate --config c.yaml --bucket b --shard 4/4",
            "sealgate migrate --config c.yaml --bucket b --shard 1",
            "sealgate migrate --config c.yaml --bucket b --rate fast",
            "sealgate migrate --config c.yaml --bucket b --concurrency 0",
            "sealgate migrate --config c.yaml --bucket b --keys f --prefix p",
            "sealgate rewrap --config c.yaml --bucket b --to-bucket c",
            "sealgate verify --config c.yaml",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
