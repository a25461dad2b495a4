-- What an approved operation answered, sealed. answer_kind: 'none', 'plain', 'secret' (its requester may take it, once)
-- or 'taken'.
ALTER TABLE approvals ADD COLUMN answer_kind TEXT NOT NULL DEFAULT 'none';
ALTER TABLE approvals ADD COLUMN answer {blob};
CREATE INDEX approvals_unfinished ON approvals (decided_us) WHERE state = 'approved';
CREATE INDEX approvals_untaken ON approvals (decided_us) WHERE answer_kind = 'secret';
