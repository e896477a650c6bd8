//! What of a master file message (`MFN`) its answer repeats.

use connector_api::Raw;
use connector_formats::charset::Charset;
use connector_formats::hl7::Header;

/// The fields of a master file message that its answer repeats, as they were sent.
#[derive(Debug)]
pub(crate) struct MasterFile {
    /// The `MFI` segment without its name.
    pub(crate) identification: String,
    /// MFI-6: for which entries an answer is asked.
    asked: String,
    /// MFE-1, 2, 4 and 5 of each entry.
    entries: Vec<[String; 4]>,
}

impl MasterFile {
    /// Reads a message; `None` for any other than an `MFN`, and for one that does not decode.
    pub(crate) fn read(header: &Header, raw: &Raw) -> Option<MasterFile> {
        if header.component(9, 1) != "MFN" {
            return None;
        }
        let charset = Charset::from_name(raw.charset.as_deref()?)?;
        let text = charset.decode(&raw.body).ok()?;
        let separator = header.delimiters.field;
        let fields = |line: &str, wanted: &[usize]| -> Vec<String> {
            let fields: Vec<&str> = line.split(separator).collect();
            wanted.iter().map(|at| fields.get(*at).copied().unwrap_or_default().to_owned()).collect()
        };
        let named = |line: &&str, name: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(separator));
        let lines = || text.split(['\r', '\n']);
        let mfi = lines().find(|line| named(line, "MFI"))?;
        let asked = fields(mfi, &[6]).swap_remove(0);
        let entries = lines().filter(|line| named(line, "MFE"));
        let entries = entries.filter_map(|line| fields(line, &[1, 2, 4, 5]).try_into().ok()).collect();
        let identification = mfi.split_once(separator).map_or("", |(_, fields)| fields).to_owned();
        Some(MasterFile { identification, asked, entries })
    }

    /// The entries of which the sender wants to hear, if all went `well` or not.
    pub(crate) fn asked(&self, well: bool) -> &[[String; 4]] {
        let wanted = match self.asked.as_str() {
            "AL" => true,
            "SU" => well,
            "ER" => !well,
            _ => false,
        };
        if wanted { &self.entries } else { &[] }
    }
}
