// The order of the conversation: which frame may come when.
#pragma once
#include "supervisor.h"

// Handles the frames that have come, as far as there is room to answer.
void session_frames(void);
// The stream has ended: ends the supervisor, or lets it dial again.
void session_input_ended(void);
// Whether OPEN has come.
bool session_opened(void);
// When the supervisor ends by itself, on now()'s clock; 0: never. `idle` holds until OPEN.
uint64_t session_ends(uint64_t idle);

#ifdef KATAFLEET_FUZZ
// One process serves one conversation; the fuzzer's serves many.
void session_reset(void);
void receive_reset(void);
void age_reset(void);
void glob_reset(void);
void known_reset(void);
#endif
