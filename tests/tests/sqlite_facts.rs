//! What SQLite does on an ordinary directory, where the product relies on it. No mount, nothing of the product: if one
//! of these fails after an update of SQLite, what is built on it has to be looked at again.

mod facts;
