//! Which step may follow which. Deciding is pure: a record and a verb go in, the changed record comes out.
