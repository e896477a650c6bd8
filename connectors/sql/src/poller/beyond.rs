//! Stored watermarks that can't be true, and sources that answer nothing where they used to answer.

use connector_api::{Cursor, FaultClass, SourceError, Value, Watermark};

use super::{Page, SqlPoller};
use crate::{Now, RelationalClient, WatermarkSettings, WatermarkType, query, watermark};

impl<C: RelationalClient> SqlPoller<C> {
    /// Whether even the start of a scan lies in the future of the source's clock: rows were stamped by a
    /// clock that was ahead, and what is stamped since it was set right would never be read. The scan
    /// then reads everything, and the watermark moves to where it can be vouched for.
    pub(super) fn is_ahead(&self, stored: &Watermark, now: Option<&Now>) -> Result<bool, SourceError> {
        let settings = self.plan.watermark()?;
        let ahead = now.is_some_and(|now| {
            !stored.is_start() && watermark::is_ahead(settings, self.stamp_of(stored.columns()), now)
        });
        if ahead {
            let from = self.plan.from();
            tracing::warn!(from, "the stored watermark lies in the future of the source's clock: all is read again");
        }
        Ok(ahead)
    }

    /// Whether the source's numbers all lie before where the scan starts: the source was restored from a
    /// backup, or counts anew, and what it adds would never be read. All is then read again.
    ///
    /// Fails where the source has no row at all, although a watermark came from one.
    pub(super) async fn has_gone_back(
        &mut self,
        known: &Watermark,
        after: Option<&Cursor>,
        page: &Page,
    ) -> Result<bool, SourceError> {
        let settings = self.plan.watermark()?.clone();
        if known.is_start() || self.has_stamps(&settings, after, page) {
            return Ok(false);
        }
        let newest = self.newest().await?;
        let from = self.plan.from().to_owned();
        let Some(newest) = newest.first() else {
            if page.rows.rows.is_empty() && after.is_none() && !self.plan.stream.fetch.may_be_empty {
                return Err(SourceError::retry(FaultClass::Data, format!("read changes of {from:?}")).hint(
                    "it has no row at all, and had some before: look whether it is being rebuilt, or whether the login \
                     still sees its rows; write may_be_empty = true where it shows the last days only",
                ));
            }
            return Ok(false);
        };
        let back = match settings.kind {
            WatermarkType::Timestamp => false,
            // The source's own order of text says it: it has nothing from the watermark on.
            WatermarkType::Text => page.next.is_none(),
            WatermarkType::Number | WatermarkType::Rowversion => {
                watermark::lower(&settings, self.stamp_of(known.columns()))
                    .is_some_and(|start| watermark::compare_all(newest, &start.at).is_lt())
            }
        };
        if back {
            tracing::warn!(from, "the source's newest row lies before the stored watermark: all is read again");
        }
        Ok(back)
    }

    /// Whether the page, or what was read before it, has a row with a watermark.
    fn has_stamps(&self, settings: &WatermarkSettings, after: Option<&Cursor>, page: &Page) -> bool {
        let columns: Option<Vec<usize>> = settings.columns().map(|name| page.rows.position(name)).collect();
        after.is_some_and(|cursor| self.is_stamped(settings, &cursor.0))
            || columns
                .is_some_and(|columns| page.rows.rows.iter().any(|row| self.is_stamped(settings, &row.pick(&columns))))
    }

    /// Whether none of a row's watermark columns, with which these values begin, is null or blank.
    pub(super) fn is_stamped(&self, settings: &WatermarkSettings, values: &[Value]) -> bool {
        let blank = |(term, value)| query::is_blank(self.client.dialect(), self.plan.from(), term, value);
        values.len() >= settings.width() && !self.plan.terms(settings).into_iter().zip(values).any(blank)
    }
}
