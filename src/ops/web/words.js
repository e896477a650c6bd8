/* What the page says, in Chinese and English; the other files fill it. */
window.HISYNC_WORDS = { zh: {}, en: {}, codes: {} };
