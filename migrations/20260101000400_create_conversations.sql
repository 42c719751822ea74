-- Personas. The platform's own (business_id NULL) are seen by every business.
CREATE TABLE characters (
    id uuid PRIMARY KEY,
    business_id uuid REFERENCES businesses ON DELETE CASCADE,
    name text NOT NULL,
    system_prompt text NOT NULL,
    greeting text,
    model text,
    temperature real,
    uses_knowledge boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL
);
COMMENT ON COLUMN characters.business_id IS 'NULL: the platform''s, listed to all';
COMMENT ON COLUMN characters.greeting IS 'NULL: waits for the first message';
COMMENT ON COLUMN characters.model IS 'NULL: the deployment''s CHAT_MODEL';
COMMENT ON COLUMN characters.temperature IS 'NULL: the model''s own default';
CALL protect_tenant_table('characters', 'SELECT, INSERT');
CREATE POLICY shared ON characters FOR SELECT TO relais_app USING (business_id IS NULL);

CREATE TABLE contacts (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    channel text NOT NULL CONSTRAINT contacts_channel_check CHECK (channel IN ('api', 'manychat', 'whatsapp')),
    external_id text NOT NULL,
    first_name text,
    last_name text,
    phone text,
    language text,
    attributes jsonb NOT NULL DEFAULT '{}',
    opted_out_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT contacts_channel_external_id_key UNIQUE (business_id, channel, external_id)
);
COMMENT ON COLUMN contacts.external_id IS 'the channel''s own id of the person, as text: ids can exceed 2^53';
COMMENT ON COLUMN contacts.attributes IS 'what else the channel said of the person';
COMMENT ON COLUMN contacts.opted_out_at IS 'NULL: may be written to';
CREATE INDEX contacts_business_id_idx ON contacts (business_id, id DESC);
CALL protect_tenant_table('contacts', 'SELECT');

CREATE TABLE chats (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    channel text NOT NULL CONSTRAINT chats_channel_check CHECK (channel IN ('api', 'manychat', 'whatsapp')),
    contact_id uuid REFERENCES contacts ON DELETE CASCADE,
    character_id uuid REFERENCES characters ON DELETE SET NULL,
    title text,
    last_seq bigint NOT NULL DEFAULT 0,
    turn_job_id uuid,
    waiting_since timestamptz,
    assistant_paused_at timestamptz,
    archived_at timestamptz,
    created_at timestamptz NOT NULL,
    last_message_at timestamptz NOT NULL,
    CONSTRAINT chats_contact_id_key UNIQUE (business_id, contact_id)
);
COMMENT ON COLUMN chats.contact_id IS 'NULL: a chat of the API';
COMMENT ON COLUMN chats.character_id IS 'NULL: the business''s default';
COMMENT ON COLUMN chats.last_seq IS 'the number of the newest message; messages of a chat are numbered from 1 under this row''s lock';
COMMENT ON COLUMN chats.turn_job_id IS 'the one job that may answer now: the chat''s lease; NULL: none is due';
COMMENT ON COLUMN chats.waiting_since IS 'when the oldest unanswered message came; NULL: nothing waits';
COMMENT ON COLUMN chats.assistant_paused_at IS 'NULL: the assistant answers; set: a person does';
CREATE INDEX chats_business_id_idx ON chats (business_id, id DESC);
CALL protect_tenant_table('chats', 'SELECT');

CREATE TABLE messages (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    chat_id uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    contact_id uuid REFERENCES contacts ON DELETE CASCADE,
    user_id uuid,
    seq bigint NOT NULL,
    direction text NOT NULL CONSTRAINT messages_direction_check CHECK (direction IN ('inbound', 'outbound')),
    role text NOT NULL CONSTRAINT messages_role_check CHECK (role IN ('user', 'assistant', 'system')),
    content text NOT NULL,
    media_url text,
    external_id text,
    status text NOT NULL CONSTRAINT messages_status_check
        CHECK (status IN ('received', 'answered', 'ignored', 'pending', 'sent', 'failed', 'unknown')),
    status_reason text,
    turn_job_id uuid,
    sources jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL,
    CONSTRAINT messages_seq_key UNIQUE (chat_id, seq),
    CONSTRAINT messages_external_id_key UNIQUE (chat_id, external_id)
);
COMMENT ON COLUMN messages.contact_id IS 'who wrote it, or whom it is for; NULL: a chat of the API';
COMMENT ON COLUMN messages.user_id IS 'who wrote it, or whom it is for; NULL: a contact''s';
COMMENT ON COLUMN messages.media_url IS 'NULL: text only';
COMMENT ON COLUMN messages.external_id IS 'the channel''s id of the message; NULL: it gave none';
COMMENT ON COLUMN messages.status IS 'inbound: received, answered, ignored; outbound: pending, sent, failed, unknown';
COMMENT ON COLUMN messages.status_reason IS 'why it was ignored or failed; NULL otherwise';
COMMENT ON COLUMN messages.turn_job_id IS 'the turn that answered it, or that wrote it; NULL: unanswered';
CREATE INDEX messages_unanswered_idx ON messages (chat_id, seq) WHERE direction = 'inbound' AND turn_job_id IS NULL;
CREATE INDEX messages_business_id_idx ON messages (business_id, id DESC);
CREATE INDEX messages_contact_id_idx ON messages (contact_id, id DESC) WHERE contact_id IS NOT NULL;
CALL protect_tenant_table('messages', 'SELECT');

-- What leaves through a channel: one row a part, parts of a chat in order of (seq, part).
CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    chat_id uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    message_id uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
    job_id uuid NOT NULL,
    seq bigint NOT NULL,
    part smallint NOT NULL,
    body text NOT NULL,
    state text NOT NULL CONSTRAINT deliveries_state_check CHECK (state IN ('pending', 'sent', 'dead')),
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    CONSTRAINT deliveries_part_key UNIQUE (message_id, part)
);
COMMENT ON COLUMN deliveries.job_id IS 'the deliver_message job all parts of one message share';
COMMENT ON COLUMN deliveries.sent_at IS 'when the channel accepted it; NULL: not yet';
CREATE INDEX deliveries_pending_idx ON deliveries (chat_id, seq, part) WHERE state = 'pending';
CALL protect_tenant_table('deliveries', 'SELECT');

-- Each call to a channel, recorded before it is made: one without an outcome is a call whose outcome is unknown.
CREATE TABLE delivery_attempts (
    delivery_id uuid NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    attempt integer NOT NULL,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    outcome text CONSTRAINT delivery_attempts_outcome_check CHECK (outcome IN ('accepted', 'refused', 'unavailable', 'unknown')),
    detail text,
    PRIMARY KEY (delivery_id, attempt)
);
COMMENT ON COLUMN delivery_attempts.attempt IS 'the attempt of the delivery job that made the call';
COMMENT ON COLUMN delivery_attempts.finished_at IS 'NULL: under way, or the caller died';
COMMENT ON COLUMN delivery_attempts.outcome IS 'NULL as finished_at';
COMMENT ON COLUMN delivery_attempts.detail IS 'the channel''s own words; NULL: none';
CALL protect_tenant_table('delivery_attempts', 'SELECT');

-- What each model call cost, for billing and for people.
CREATE TABLE model_calls (
    id uuid PRIMARY KEY,
    business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE,
    job_id uuid NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    duration_ms integer NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX model_calls_business_id_idx ON model_calls (business_id, id DESC);
CALL protect_tenant_table('model_calls', 'SELECT');
