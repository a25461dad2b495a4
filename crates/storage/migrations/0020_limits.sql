-- The limits of all keys of a workspace or an owner together, as JSON.
ALTER TABLE workspaces ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE owners ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
