package generate

import (
	"context"
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/peft"
)

// Chat is a conversation with a model in its chat template. It is not safe for concurrent use.
type Chat struct {
	base         *attach.Base
	adapters     []attach.Scaled
	encoder      chat.Encoder
	conversation chat.Conversation
}

// NewChat begins a conversation. Of the options the template and its arguments count. A base without a chat template is
// an error where the options name none.
func NewChat(b *peft.Base, adapters []peft.Scaled, opt peft.ChatOptions) (_ *Chat, err error) {
	defer mapped.Guard(&err)()
	c := &Chat{base: handle.Base(b), adapters: handle.Scaled(adapters)}
	for _, scaled := range c.adapters {
		if scaled.Adapter.Config.Template != "" {
			return nil, errors.New("an adapter has a template of its own, in which no conversation fits: generate without chat")
		}
	}
	t, err := c.base.ChatTemplate(opt.Template)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fmt.Errorf("%s has no chat template: give one (--chat-template)", c.base.Path)
	}
	t.Arguments = chat.Arguments(opt.Arguments)
	c.encoder = chat.Encoder{Template: t, Tokenizer: c.base.Tokenizer}
	return c, nil
}

// Add adds a message of a role such as "system" or "user".
func (c *Chat) Add(role, content string) { c.conversation.Add(role, content) }

// Load puts a conversation in the place of this one: JSON of an array of messages, or of an object as training data has
// them, with "messages" and perhaps "tools". Errors name the message.
func (c *Chat) Load(data []byte) error {
	read, err := chat.ReadJSON(data)
	if err == nil {
		c.conversation = *read
	}
	return err
}

// JSON is the conversation as {"messages": …}, one line.
func (c *Chat) JSON() string { return c.conversation.JSON() }

// Len is the number of messages.
func (c *Chat) Len() int { return len(c.conversation.Messages) }

// Answer generates a message of the assistant and adds it. Generation ends where the turn does. emit is that of Run.
func (c *Chat) Answer(ctx context.Context, opt Options, emit func(piece string)) (_ *Result, err error) {
	defer mapped.Guard(&err)()
	prompt, err := c.encoder.Template.Prompt(&c.conversation)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	ids, _ := c.encoder.Tokens([]chat.Segment{prompt})
	r, err := runIDs(ctx, c.base, c.adapters, ids, opt, emit)
	if err != nil {
		return nil, err
	}
	c.conversation.Add("assistant", c.encoder.Template.Stored(&c.conversation, prompt.Text+r.Text, r.Text))
	return r, nil
}
