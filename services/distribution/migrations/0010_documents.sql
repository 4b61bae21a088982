-- Documents for partners are made when they are read; only a hold's document id has to lead back to it.

-- A UUID version 4 by its bits, made of what it stands for.
CREATE FUNCTION escrow_id(payout_id uuid, round integer) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN overlay(overlay(md5('escrow/' || payout_id || '/' || round) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid;

CREATE UNIQUE INDEX payout_holds_escrow ON payout_holds (escrow_id(payout_id, round));
CREATE INDEX charge_reversals_by_transfer ON charge_reversals (transfer_id);
