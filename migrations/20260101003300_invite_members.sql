-- Whoever accepts an invitation is not in the business yet: the platform does it for them. Those that ran out make room.
CREATE INDEX invitations_business_id_idx ON invitations (business_id, id DESC);
