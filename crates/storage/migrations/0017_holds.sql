-- Why and since when a rotation keeps its old key beyond the overlap, and to when the overlap was put off.
ALTER TABLE rotations ADD COLUMN hold_why TEXT;
ALTER TABLE rotations ADD COLUMN hold_us {int};
ALTER TABLE rotations ADD COLUMN extended_us {int};
