//! Encryption at rest: whatever in the file can tell of a person is sealed, value by value.
//!
//! A data key seals; it lies in the store, sealed itself under the key of the configuration. So that key is changed at
//! once ([`rewrap`]), and the data key by sealing everything anew ([`rewrite`]). Statements name
//! what is sealed by SQL functions, which change nothing in a store without keys:
//!
//! | function | |
//! |---|---|
//! | `seal(domain, id, value)` | seals for one row of a column |
//! | `same(domain, value)` | seals equal values alike: for what is found by equality, or unique |
//! | `opened(domain, id, value)` | the plain value; [`DAMAGED`] where it can't be opened. `id` is NULL after `same` |
//! | `seal_codec(codec)`, `seal_body(domain, id, body)` | a packed body |
//! | `opened_body(codec, domain, id, body)` | a packed body, for [`unpack`](super::codec::unpack) |
//!
//! The domain (a column) and the row's id are bound to the value: one that is moved to another place does not open.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector_api::seal::{Key, KeyRing, SealError, Sealer};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension as _};

use super::{Error, reseal, schema};

/// What stands in the place of a text that can't be opened. No text of ours begins so.
pub(super) const DAMAGED: &str = "\u{1}damaged";

/// Added to the codec of a body that is sealed.
pub(super) const SEALED: i64 = 2;

/// What a sealed text begins with, then how it is sealed, the generation and a point.
const MARK: char = '\u{1}';
/// What a sealed blob begins with, then how it is sealed and the generation.
const BLOB_MARK: [u8; 3] = *b"\x01hs";
const BLOB_HEAD: usize = BLOB_MARK.len() + 1 + 4;

/// How a value is sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Unlike,
    Alike,
}

impl How {
    fn letter(self) -> u8 {
        match self {
            How::Unlike => b's',
            How::Alike => b'a',
        }
    }

    fn of(letter: u8) -> Option<How> {
        [How::Unlike, How::Alike].into_iter().find(|how| how.letter() == letter)
    }
}

/// The keys of an open store; none where nothing is sealed.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// By generation, the newest last.
    sealers: Vec<(u32, Sealer)>,
    /// Whatever is sealed anew is opened for good instead.
    opening: bool,
}

impl Vault {
    /// The generation that seals.
    pub(super) fn generation(&self) -> Option<u32> {
        self.sealers.last().filter(|_| !self.opening).map(|(generation, _)| *generation)
    }

    /// The same keys, with which nothing more is sealed, and what is sealed anew is opened for good.
    fn opening(self: Arc<Vault>) -> Option<Vault> {
        Arc::into_inner(self).map(|vault| Vault { opening: true, ..vault })
    }

    /// Bytes by which sealing makes a blob longer.
    pub(super) fn overhead(&self) -> i64 {
        if self.sealers.is_empty() { 0 } else { (BLOB_HEAD + Sealer::OVERHEAD) as i64 }
    }

    /// What texts that are sealed alike under the newest generation begin with, and what follows all of them.
    pub(super) fn alike_range(&self) -> Option<(String, String)> {
        let generation = self.generation()?;
        // `/` follows the point.
        Some((format!("{MARK}a{generation}."), format!("{MARK}a{generation}/")))
    }

    fn seal(&self, how: How, context: &[u8], value: ValueRef<'_>) -> Result<Value, SealError> {
        let newest = self.sealers.last().filter(|_| !self.opening);
        let Some((generation, sealer)) = newest else { return Ok(copy(value)) };
        let seal = |plain: &[u8]| match how {
            How::Unlike => sealer.seal(context, plain),
            How::Alike => sealer.seal_alike(context, plain),
        };
        Ok(match value {
            ValueRef::Text(text) => {
                let (letter, sealed) = (char::from(how.letter()), URL_SAFE_NO_PAD.encode(seal(text)?));
                Value::Text(format!("{MARK}{letter}{generation}.{sealed}"))
            }
            ValueRef::Blob(bytes) => {
                let sealed = seal(bytes)?;
                let mut blob = Vec::with_capacity(BLOB_HEAD + sealed.len());
                blob.extend_from_slice(&BLOB_MARK);
                blob.push(how.letter());
                blob.extend_from_slice(&generation.to_be_bytes());
                blob.extend_from_slice(&sealed);
                Value::Blob(blob)
            }
            other => copy(other),
        })
    }

    /// The plain value, also where it was never sealed; `None` where it can't be opened.
    fn open(&self, context: &[u8], value: ValueRef<'_>) -> Option<Value> {
        if self.sealers.is_empty() {
            return Some(copy(value));
        }
        let (how, generation, sealed) = match value {
            ValueRef::Text(text) => match sealed_text(text) {
                None => return Some(copy(value)),
                Some(parts) => parts?,
            },
            ValueRef::Blob(blob) => match sealed_blob(blob) {
                None => return Some(copy(value)),
                Some((how, generation, sealed)) => (how, generation, sealed.to_vec()),
            },
            _ => return Some(copy(value)),
        };
        let (_, sealer) = self.sealers.iter().find(|(known, _)| *known == generation)?;
        let mut plain = match how {
            How::Unlike => sealer.open(context, &sealed),
            How::Alike => sealer.open_alike(context, &sealed),
        }
        .ok()?;
        let plain = std::mem::take(&mut *plain);
        match value {
            ValueRef::Text(_) => String::from_utf8(plain).ok().map(Value::Text),
            _ => Some(Value::Blob(plain)),
        }
    }

    /// Seals a value under the newest generation, whatever it was sealed under; as it is where it can't be opened.
    fn reseal(&self, how: How, context: &[u8], value: ValueRef<'_>) -> Result<Value, SealError> {
        match self.open(context, value) {
            Some(plain) => self.seal(how, context, (&plain).into()),
            None => Ok(copy(value)),
        }
    }
}

/// The value itself. A text that is none, in a damaged file, is no value.
fn copy(value: ValueRef<'_>) -> Value {
    Value::try_from(value).unwrap_or_else(|_| Value::Text(DAMAGED.to_owned()))
}

type SealedText = (How, u32, Vec<u8>);

/// The parts of a sealed text; `None` where it is plain, `Some(None)` where it is sealed and damaged. Sources may yield
/// a text that begins with the same character: what does not go on as a sealed one is plain.
fn sealed_text(text: &[u8]) -> Option<Option<SealedText>> {
    let (letter, rest) = text.strip_prefix(&[MARK as u8])?.split_first()?;
    let point = rest.iter().take(11).position(|byte| *byte == b'.')?;
    let how = How::of(*letter)?;
    let generation = std::str::from_utf8(&rest[..point]).ok()?.parse().ok()?;
    let sealed = URL_SAFE_NO_PAD.decode(&rest[point + 1..]);
    Some(sealed.ok().map(|sealed| (how, generation, sealed)))
}

fn sealed_blob(blob: &[u8]) -> Option<(How, u32, &[u8])> {
    let rest = blob.strip_prefix(&BLOB_MARK)?;
    let (letter, rest) = rest.split_first()?;
    let (generation, sealed) = rest.split_first_chunk::<4>()?;
    Some((How::of(*letter)?, u32::from_be_bytes(*generation), sealed))
}

/// What a value is bound to.
fn context(domain: ValueRef<'_>, id: ValueRef<'_>) -> Vec<u8> {
    let mut bytes = domain.as_bytes().unwrap_or_default().to_vec();
    bytes.push(0);
    match id {
        ValueRef::Integer(id) => {
            bytes.push(b'i');
            bytes.extend_from_slice(&id.to_be_bytes());
        }
        ValueRef::Text(id) | ValueRef::Blob(id) => {
            bytes.push(b'b');
            bytes.extend_from_slice(id);
        }
        _ => bytes.push(b'-'),
    }
    bytes
}

/// Gives a connection the functions that seal and open.
pub(super) fn register(conn: &Connection, vault: &Arc<Vault>) -> Result<(), Error> {
    type Work = fn(&Vault, &Context<'_>) -> Result<Value, SealError>;
    fn bound(args: &Context<'_>, domain: usize) -> Vec<u8> {
        context(args.get_raw(domain), args.get_raw(domain + 1))
    }
    fn alone(args: &Context<'_>) -> Vec<u8> {
        context(args.get_raw(0), ValueRef::Null)
    }
    let steady = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let random = FunctionFlags::SQLITE_UTF8;
    let functions: [(&str, i32, FunctionFlags, Work); 9] = [
        ("seal", 3, random, |vault, args| vault.seal(How::Unlike, &bound(args, 0), args.get_raw(2))),
        ("reseal", 3, random, |vault, args| vault.reseal(How::Unlike, &bound(args, 0), args.get_raw(2))),
        ("same", 2, steady, |vault, args| vault.seal(How::Alike, &alone(args), args.get_raw(1))),
        ("resame", 2, steady, |vault, args| vault.reseal(How::Alike, &alone(args), args.get_raw(1))),
        ("opened", 3, steady, |vault, args| {
            let plain = vault.open(&bound(args, 0), args.get_raw(2));
            Ok(plain.unwrap_or_else(|| Value::Text(DAMAGED.to_owned())))
        }),
        ("seal_codec", 1, steady, |vault, args| {
            let codec = args.get_raw(0).as_i64().unwrap_or_default();
            Ok(Value::Integer(match vault.generation() {
                Some(_) => codec | SEALED,
                None if vault.opening => codec & !SEALED,
                None => codec,
            }))
        }),
        ("seal_body", 3, random, |vault, args| vault.seal(How::Unlike, &bound(args, 0), args.get_raw(2))),
        ("reseal_body", 4, random, |vault, args| {
            let value = args.get_raw(3);
            match args.get_raw(0).as_i64() {
                Ok(codec) if codec & SEALED != 0 => vault.reseal(How::Unlike, &bound(args, 1), value),
                _ => vault.seal(How::Unlike, &bound(args, 1), value),
            }
        }),
        ("opened_body", 4, steady, |vault, args| {
            let value = args.get_raw(3);
            let sealed = args.get_raw(0).as_i64().is_ok_and(|codec| codec & SEALED != 0);
            let plain = if sealed { vault.open(&bound(args, 1), value) } else { None };
            // What can't be opened is longer than it may be, and `unpack` refuses it.
            Ok(plain.unwrap_or_else(|| copy(value)))
        }),
    ];
    for (name, arguments, flags, work) in functions {
        let vault = Arc::clone(vault);
        let call = move |args: &Context<'_>| {
            work(&vault, args).map_err(|cause| rusqlite::Error::UserFunctionError(Box::new(cause)))
        };
        conn.create_scalar_function(name, arguments, flags, call).map_err(Error::sqlite("open the store"))?;
    }
    Ok(())
}

fn wrap_context(generation: u32) -> Vec<u8> {
    context(ValueRef::Text(b"vault_key"), ValueRef::Integer(i64::from(generation)))
}

fn wrap(keys: &KeyRing, generation: u32, key: &Key) -> Result<Vec<u8>, Error> {
    let sealer = keys.newest().sealer("store key").map_err(Error::Seal)?;
    sealer.seal(&wrap_context(generation), key.bytes()).map_err(Error::Seal)
}

fn unwrap(keys: &KeyRing, generation: u32, wrapped: &[u8]) -> Result<Key, Error> {
    for key in keys.keys() {
        let sealer = key.sealer("store key").map_err(Error::Seal)?;
        if let Ok(plain) = sealer.open(&wrap_context(generation), wrapped) {
            return Key::from_bytes(&plain).map_err(Error::Seal);
        }
    }
    Err(Error::WrongKey { given: keys.newest().fingerprint() })
}

/// The wrapped keys of a store, also of one whose layout has none yet.
fn wrapped(conn: &Connection) -> Result<Vec<(u32, Vec<u8>, String)>, Error> {
    let failed = || Error::sqlite("read the store's keys");
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'vault_key'";
    let known = conn.query_row(sql, (), |_| Ok(())).optional().map_err(failed())?;
    if known.is_none() {
        return Ok(Vec::new());
    }
    let sql = "SELECT generation, wrapped, wrapped_by FROM vault_key ORDER BY generation";
    let mut statement = conn.prepare(sql).map_err(failed())?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(failed())?;
    rows.collect::<rusqlite::Result<_>>().map_err(failed())
}

/// Whether a store is encrypted, all of it.
pub(super) fn is_sealed(conn: &Connection) -> Result<bool, Error> {
    Ok(!wrapped(conn)?.is_empty() && !reseal::is_pending(conn)?)
}

/// Opens the store's keys. [`Error::NoKey`] and [`Error::WrongKey`] where they can't be; changes nothing.
pub(super) fn load(conn: &Connection, keys: Option<&KeyRing>) -> Result<Arc<Vault>, Error> {
    let wrapped = wrapped(conn)?;
    let mut sealers = Vec::with_capacity(wrapped.len());
    for (generation, bytes, _) in wrapped {
        let keys = keys.ok_or(Error::NoKey)?;
        let key = unwrap(keys, generation, &bytes)?;
        sealers.push((generation, key.sealer("store").map_err(Error::Seal)?));
    }
    Ok(Arc::new(Vault { sealers, opening: false }))
}

/// Opens the store's keys for the writer. A store that nothing is sealed in gets its first key where one is configured;
/// keys that an older key of the configuration seals are sealed under its newest.
pub(super) fn prepare(conn: &mut Connection, keys: Option<&KeyRing>, now: i64) -> Result<Arc<Vault>, Error> {
    let vault = load(conn, keys)?;
    let Some(keys) = keys else { return Ok(vault) };
    if vault.generation().is_none() {
        add_generation(conn, keys, now)?;
        return load(conn, Some(keys));
    }
    if rewrap_in(conn, keys)? > 0 {
        tracing::info!("the store's key is sealed under the newest key of the configuration now");
    }
    Ok(vault)
}

/// Adds a data key, under which everything is to be sealed anew.
pub(super) fn add_generation(conn: &mut Connection, keys: &KeyRing, now: i64) -> Result<(), Error> {
    let failed = || Error::sqlite("add a key to the store");
    let transaction = conn.transaction().map_err(failed())?;
    let sql = "SELECT coalesce(max(generation), 0) FROM vault_key";
    let newest: u32 = transaction.query_row(sql, (), |row| row.get(0)).map_err(failed())?;
    let key = Key::generate().map_err(Error::Seal)?;
    let wrapped = wrap(keys, newest + 1, &key)?;
    let sql = "INSERT INTO vault_key (generation, wrapped, wrapped_by, created_at) VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(sql, (newest + 1, wrapped, keys.newest().fingerprint(), now)).map_err(failed())?;
    let sql = "INSERT OR REPLACE INTO vault_work (id, step, after, scrub) VALUES (1, 0, ?1, ?2)";
    transaction.execute(sql, (i64::MIN, newest == 0)).map_err(failed())?;
    transaction.commit().map_err(failed())
}

/// Seals the store's keys under the newest key of the configuration; answers how many were sealed under another one.
/// Nothing else changes, so a running agent goes on.
fn rewrap_in(conn: &mut Connection, keys: &KeyRing) -> Result<usize, Error> {
    let failed = || Error::sqlite("seal the store's keys anew");
    let newest = keys.newest().fingerprint();
    let transaction = conn.transaction().map_err(failed())?;
    let mut changed = 0;
    for (generation, bytes, by) in wrapped(&transaction)? {
        if by != newest {
            let bytes = wrap(keys, generation, &unwrap(keys, generation, &bytes)?)?;
            let sql = "UPDATE vault_key SET wrapped = ?2, wrapped_by = ?3 WHERE generation = ?1";
            changed += transaction.execute(sql, (generation, bytes, &newest)).map_err(failed())?;
        }
    }
    transaction.commit().map_err(failed())?;
    Ok(changed)
}

/// Seals the key of a folder's store under the newest key of the configuration, beside a running agent or without one;
/// answers how many keys were sealed under an older one.
pub fn rewrap(dir: &Path, keys: &KeyRing) -> Result<usize, Error> {
    let path = schema::file(dir);
    let looked = load(&schema::look(&path)?, Some(keys))?;
    if looked.generation().is_none() {
        return Err(Error::Refused("nothing is encrypted yet: that is done when the agent starts, or by --rewrite"));
    }
    rewrap_in(&mut schema::connect(&path)?, keys)
}

/// Seals everything in a folder's store under a new key of its own: for when the old one may be known to somebody.
/// No agent may run on it ([`Error::Locked`]). What was cut off is finished first; `told` hears how many parts of how
/// many are done.
pub fn rewrite(dir: &Path, keys: &KeyRing, now: i64, told: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
    let path = schema::file(dir);
    if !path.exists() {
        return Err(Error::Missing);
    }
    let _lock = schema::lock(dir)?;
    let (mut conn, before) = schema::open_writer(&path, Some(keys), now)?;
    drop(before);
    add_generation(&mut conn, keys, now)?;
    let vault = load(&conn, Some(keys))?;
    register(&conn, &vault)?;
    reseal::finish(&mut conn, &vault, told)
}

/// Opens for good everything that a file holds sealed, and forgets its keys. For a copy that is not in its place yet: a
/// death in the middle leaves some of both.
pub(super) fn strip(conn: &mut Connection, keys: &KeyRing) -> Result<(), Error> {
    if reseal::is_pending(conn)? {
        return Err(Error::Refused("the store is being encrypted: start the agent once, so that this is finished"));
    }
    let Some(vault) = load(conn, Some(keys))?.opening() else {
        return Err(Error::Panicked { operation: "open what is sealed" });
    };
    register(conn, &Arc::new(vault))?;
    reseal::strip(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        let sealer = Key::generate().unwrap().sealer("store").unwrap();
        Vault { sealers: vec![(1, sealer)], opening: false }
    }

    #[test]
    fn a_plain_text_that_looks_a_little_like_a_sealed_one_is_sealed_and_opened_like_any_other() {
        let vault = vault();
        for text in ["", "\u{1}", "\u{1}s", "\u{1}s1", "\u{1}x1.AAAA", "\u{1}s99999999999999.AAAA", "\u{1}a.b", "常"] {
            let plain = Value::Text(text.to_owned());
            assert_eq!(vault.open(b"c", (&plain).into()), Some(plain.clone()), "{text:?} is plain");
            let sealed = vault.reseal(How::Unlike, b"c", (&plain).into()).unwrap();
            assert_ne!(sealed, plain);
            assert_eq!(vault.open(b"c", (&sealed).into()), Some(plain));
        }
    }

    #[test]
    fn what_is_damaged_or_of_an_unknown_key_does_not_open_and_a_store_without_keys_shows_what_is_there() {
        let (vault, other) = (vault(), vault());
        let plain = Value::Text("张三".to_owned());
        let sealed = vault.seal(How::Alike, b"c", (&plain).into()).unwrap();
        assert_eq!(vault.open(b"d", (&sealed).into()), None);
        assert_eq!(other.open(b"c", (&sealed).into()), None);
        let Value::Text(text) = &sealed else { panic!("a text stays one") };
        let torn = Value::Text(text[..text.len() - 1].to_owned());
        assert_eq!(vault.open(b"c", (&torn).into()), None);
        assert_eq!(Vault::default().open(b"c", (&torn).into()), Some(torn));
    }
}
