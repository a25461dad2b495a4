-- Failed proofs by place: a keyed hash of what is proved, of which there are a fixed number.
CREATE TABLE lockouts (
    place {int} PRIMARY KEY,
    failures {int} NOT NULL,
    until_us {int} NOT NULL
) {strict};
