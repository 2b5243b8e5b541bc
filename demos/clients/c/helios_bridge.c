/* helios_bridge.c: the client of helios_bridge.h over libzmq and msgpack-c. C11, no globals but one text for hb_open.
 *
 * Read it from the bottom: the public functions, then what an arriving message means, then bytes.
 */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L /* clock_gettime, shm_open */
#endif
#include "helios_bridge.h"

#include <msgpack.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#endif

enum { HELLO = 1, WELCOME, CONTROL, FRAME, SCENE, RESET, STATS_REQUEST, STATS, ERROR_, BUSY, BYE, PING, PONG,
       SAVE, SAVED };
enum { MAX_BODY_BYTES = 16 * 1024, MAX_SCENE_BYTES = 4 * 1024 * 1024, MAX_DEPTH = 16, MAX_PARTS_OF_MESSAGE = 4 };
#define MAX_PIXELS_BYTES (3LL * 4096 * 4096)
#define HELLO_AGAIN_US 2000000 /* an unanswered HELLO is repeated */
#define MISSED_HEARTBEATS 3    /* a server this silent, while controls are under way, is gone */
#define BYE_MS 100

typedef enum { WAITING, OPEN, CLOSED } session_state; /* WAITING: for a WELCOME */

typedef struct {
    const uint8_t *memory; /* NULL: not open */
    size_t size;
    uint32_t slots, stride, width, height;
    uint8_t *copy; /* the newest frame's pixels: a slot is only ours until it is named */
} frame_ring;

struct hb_client {
    void *context, *socket;
    hb_options options;
    char *name, *axes; /* copies */
    session_state state;
    hb_welcome welcome;
    char resume_token[65 * 4];
    int64_t heartbeat_us, hello_due_us, heard_us, next_seq, newest_seq, waiting_since_us;
    int32_t lateness_us;
    hb_counts counts;
    hb_frame frame;
    bool has_frame;
    zmq_msg_t pixels; /* of `frame`, when they came in the message */
    frame_ring ring;
    char action[2049];
    msgpack_sbuffer out;
    char notice[1024];
};

static char open_notice[256];

int64_t hb_now_us(void)
{
#ifdef _WIN32
    LARGE_INTEGER count, per_second;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&per_second);
    return count.QuadPart / per_second.QuadPart * 1000000 + count.QuadPart % per_second.QuadPart * 1000000 / per_second.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
#endif
}

/* ---- reading a body ----------------------------------------------------------------------------------------------- */

/* Whether one msgpack value fills the bytes exactly, with no list longer than the bytes that are left for it and no
 * extension type: msgpack-c reserves memory for what a list claims to hold before it looks. */
static bool sound(const uint8_t *bytes, size_t size)
{
    uint64_t open_items[MAX_DEPTH] = {1}; /* values still to come, a level */
    size_t depth = 1, at = 0;
    while (depth > 0) {
        if (open_items[depth - 1] == 0) {
            depth--;
            continue;
        }
        open_items[depth - 1]--;
        if (at >= size)
            return false;
        uint8_t first = bytes[at++];
        uint64_t skip = 0, items = 0;
        int length_bytes = 0; /* of the count behind `first` */
        enum { SCALAR, BYTES, LIST, MAP } is = SCALAR;
        if (first <= 0x7f || first >= 0xe0 || first == 0xc0 || first == 0xc2 || first == 0xc3)
            skip = 0;
        else if (first <= 0x8f)
            is = MAP, items = first & 0x0f;
        else if (first <= 0x9f)
            is = LIST, items = first & 0x0f;
        else if (first <= 0xbf)
            skip = first & 0x1f;
        else if (first >= 0xc4 && first <= 0xc6)
            is = BYTES, length_bytes = 1 << (first - 0xc4);
        else if (first >= 0xca && first <= 0xcb)
            skip = first == 0xca ? 4 : 8;
        else if (first >= 0xcc && first <= 0xcf)
            skip = (uint64_t)1 << (first - 0xcc);
        else if (first >= 0xd0 && first <= 0xd3)
            skip = (uint64_t)1 << (first - 0xd0);
        else if (first >= 0xd9 && first <= 0xdb)
            is = BYTES, length_bytes = 1 << (first - 0xd9);
        else if (first == 0xdc || first == 0xdd)
            is = LIST, length_bytes = first == 0xdc ? 2 : 4;
        else if (first == 0xde || first == 0xdf)
            is = MAP, length_bytes = first == 0xde ? 2 : 4;
        else
            return false; /* 0xc1, extension types */
        if (length_bytes > 0) {
            if (size - at < (size_t)length_bytes)
                return false;
            uint64_t count = 0;
            for (int i = 0; i < length_bytes; i++)
                count = count << 8 | bytes[at++];
            if (is == BYTES)
                skip = count;
            else
                items = count;
        }
        if (is == MAP)
            items *= 2;
        if (skip > size - at || items > size - at)
            return false;
        at += (size_t)skip;
        if (is == MAP || is == LIST) {
            if (depth == MAX_DEPTH)
                return false;
            open_items[depth++] = items;
        }
    }
    return at == size;
}

static const msgpack_object *find(const msgpack_object *map, const char *name)
{
    if (map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;
        if (key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(name) &&
            memcmp(key->via.str.ptr, name, key->via.str.size) == 0)
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

static bool read_int(const msgpack_object *map, const char *name, int64_t least, int64_t most, int64_t *value)
{
    const msgpack_object *found = find(map, name);
    if (found == NULL)
        return false;
    if (found->type == MSGPACK_OBJECT_POSITIVE_INTEGER && found->via.u64 <= (uint64_t)INT64_MAX)
        *value = (int64_t)found->via.u64;
    else if (found->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *value = found->via.i64;
    else
        return false;
    return least <= *value && *value <= most;
}

static bool number_of(const msgpack_object *found, double *value)
{
    if (found->type == MSGPACK_OBJECT_FLOAT64 || found->type == MSGPACK_OBJECT_FLOAT32)
        *value = found->via.f64;
    else if (found->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *value = (double)found->via.u64;
    else if (found->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *value = (double)found->via.i64;
    else
        return false;
    return *value >= -1e300 && *value <= 1e300; /* false for NaN too */
}

static bool read_numbers(const msgpack_object *map, const char *name, double *values, uint32_t count)
{
    const msgpack_object *found = find(map, name);
    if (found == NULL)
        return false;
    if (count == 1 && found->type != MSGPACK_OBJECT_ARRAY)
        return number_of(found, values);
    if (found->type != MSGPACK_OBJECT_ARRAY || found->via.array.size != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!number_of(&found->via.array.ptr[i], &values[i]))
            return false;
    return true;
}

static bool read_bool(const msgpack_object *map, const char *name, bool *value)
{
    const msgpack_object *found = find(map, name);
    if (found == NULL || found->type != MSGPACK_OBJECT_BOOLEAN)
        return false;
    *value = found->via.boolean;
    return true;
}

/* Copies a text; one that does not fit is refused. */
static bool read_text(const msgpack_object *map, const char *name, char *text, size_t capacity)
{
    const msgpack_object *found = find(map, name);
    if (found == NULL || found->type != MSGPACK_OBJECT_STR || found->via.str.size >= capacity)
        return false;
    memcpy(text, found->via.str.ptr, found->via.str.size);
    text[found->via.str.size] = '\0';
    return true;
}

/* ---- writing a body ----------------------------------------------------------------------------------------------- */

static void put_text(msgpack_packer *to, const char *text)
{
    size_t size = text == NULL ? 0 : strlen(text);
    msgpack_pack_str(to, size);
    msgpack_pack_str_body(to, text == NULL ? "" : text, size);
}

static void put_number(msgpack_packer *to, const char *name, double value)
{
    put_text(to, name);
    msgpack_pack_double(to, value);
}

static void put_numbers(msgpack_packer *to, const char *name, const double *values, size_t count)
{
    put_text(to, name);
    msgpack_pack_array(to, count);
    for (size_t i = 0; i < count; i++)
        msgpack_pack_double(to, values[i]);
}

static void put_int(msgpack_packer *to, const char *name, int64_t value)
{
    put_text(to, name);
    msgpack_pack_int64(to, value);
}

static void put_named_text(msgpack_packer *to, const char *name, const char *text)
{
    put_text(to, name);
    put_text(to, text);
}

static void put_bool(msgpack_packer *to, const char *name, bool value)
{
    put_text(to, name);
    value ? msgpack_pack_true(to) : msgpack_pack_false(to);
}

/* Meshes are little-endian on the wire; engines run on little-endian machines. */
static void put_bytes(msgpack_packer *to, const char *name, const void *bytes, size_t size)
{
    put_text(to, name);
    msgpack_pack_bin(to, size);
    msgpack_pack_bin_body(to, bytes == NULL ? "" : bytes, size);
}

static msgpack_packer *begin(hb_client *client, msgpack_packer *to, size_t fields)
{
    msgpack_sbuffer_clear(&client->out);
    msgpack_packer_init(to, &client->out, msgpack_sbuffer_write);
    msgpack_pack_map(to, fields);
    return to;
}

/* Sends what `begin` began. Whole messages leave or none: only the first part can be refused for want of room. */
static bool send_out(hb_client *client, uint8_t type)
{
    if (zmq_send(client->socket, "HLB1", 4, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return false;
    return zmq_send(client->socket, &type, 1, ZMQ_SNDMORE) >= 0 &&
           zmq_send(client->socket, client->out.data, client->out.size, 0) >= 0;
}

static void send_hello(hb_client *client, int64_t now_us)
{
    if (now_us < client->hello_due_us)
        return;
    msgpack_packer packer, *to = begin(client, &packer, 14);
    const hb_options *options = &client->options;
    put_int(to, "version_major", 1);
    put_int(to, "version_minor", 1);
    put_named_text(to, "client", client->name);
    put_named_text(to, "axes", client->axes);
    put_number(to, "units_per_metre", options->units_per_metre);
    put_text(to, "pixel_formats");
    msgpack_pack_array(to, options->accepts_jpeg ? 2 : 1);
    if (options->accepts_jpeg)
        put_text(to, "jpeg");
    put_text(to, "rgb8");
    put_int(to, "credit", options->credit);
    put_int(to, "budget_us", options->budget_us);
    put_number(to, "tick_hz", options->tick_hz);
    put_number(to, "max_speed", options->max_speed);
    put_number(to, "max_turn_deg_per_s", options->max_turn_deg_per_s);
    put_bool(to, "shared_memory", options->shared_memory);
    put_named_text(to, "session_id", client->welcome.session_id);
    put_named_text(to, "resume_token", client->resume_token);
    if (send_out(client, HELLO))
        client->hello_due_us = now_us + HELLO_AGAIN_US;
}

/* ---- shared memory ------------------------------------------------------------------------------------------------ */

static void close_ring(frame_ring *ring)
{
    if (ring->memory != NULL) {
#ifdef _WIN32
        UnmapViewOfFile(ring->memory);
#else
        munmap((void *)ring->memory, ring->size);
#endif
    }
    free(ring->copy);
    memset(ring, 0, sizeof *ring);
}

/* Maps the server's ring for reading. Leaves ring->memory NULL when that cannot be done here. */
static void map_ring(frame_ring *ring, const char *name)
{
#ifdef _WIN32
    HANDLE mapping = OpenFileMappingA(FILE_MAP_READ, FALSE, name);
    if (mapping == NULL)
        return;
    MEMORY_BASIC_INFORMATION region;
    ring->memory = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    if (ring->memory != NULL && VirtualQuery(ring->memory, &region, sizeof region) != 0)
        ring->size = region.RegionSize;
    CloseHandle(mapping);
#else
    char path[66 * 4];
    struct stat about;
    snprintf(path, sizeof path, "/%s", name);
    int file = shm_open(path, O_RDONLY, 0);
    if (file < 0)
        return;
    if (fstat(file, &about) == 0 && about.st_size >= 64) {
        void *memory = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, file, 0);
        if (memory != MAP_FAILED) {
            ring->memory = memory;
            ring->size = (size_t)about.st_size;
        }
    }
    close(file);
#endif
}

static void open_ring(frame_ring *ring, const char *name, int32_t width, int32_t height)
{
    close_ring(ring);
    if (name[0] == '\0')
        return;
    map_ring(ring, name);
    if (ring->memory == NULL)
        return;
    memcpy(&ring->slots, ring->memory + 8, 4);
    memcpy(&ring->stride, ring->memory + 12, 4);
    memcpy(&ring->width, ring->memory + 16, 4);
    memcpy(&ring->height, ring->memory + 20, 4);
    size_t pixels_bytes = 3 * (size_t)width * (size_t)height;
    ring->copy = malloc(pixels_bytes);
    if (ring->copy == NULL || memcmp(ring->memory, "HLBRING1", 8) != 0 || ring->width != (uint32_t)width ||
        ring->height != (uint32_t)height || ring->slots == 0 || ring->slots > 10 || ring->stride % 64 != 0 ||
        ring->stride < 64 + pixels_bytes || 64 + (size_t)ring->slots * ring->stride > ring->size)
        close_ring(ring);
}

/* Copies a slot's pixels. False: the slot does not hold that frame (any more). */
static bool read_slot(frame_ring *ring, int64_t slot, int64_t sequence)
{
    if (ring->memory == NULL || slot >= ring->slots)
        return false;
    const uint8_t *at = ring->memory + 64 + (size_t)slot * ring->stride;
    const _Atomic uint64_t *now = (const _Atomic uint64_t *)at;
    if (atomic_load_explicit(now, memory_order_acquire) != (uint64_t)sequence)
        return false;
    memcpy(ring->copy, at + 64, 3 * (size_t)ring->width * ring->height);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(now, memory_order_relaxed) == (uint64_t)sequence;
}

/* ---- what an arriving message means ------------------------------------------------------------------------------- */

static unsigned lose(hb_client *client, int64_t now_us, const char *why)
{
    if (client->state != OPEN)
        return 0;
    client->state = WAITING;
    client->hello_due_us = now_us;
    snprintf(client->notice, sizeof client->notice, "%s", why);
    return HB_LOST;
}

static unsigned on_welcome(hb_client *client, const msgpack_object *body)
{
    hb_welcome welcome = {0};
    char token[sizeof client->resume_token], ring[65 * 4] = "";
    int64_t last_seq, width, height, credit, heartbeat_us;
    if (!read_bool(body, "resumed", &welcome.resumed) || !read_int(body, "last_seq", -1, INT64_MAX / 2, &last_seq) ||
        !read_int(body, "frame_width", 1, 4096, &width) || !read_int(body, "frame_height", 1, 4096, &height) ||
        !read_int(body, "credit", 1, 8, &credit) || !read_int(body, "heartbeat_us", 0, INT64_MAX / 8, &heartbeat_us) ||
        !read_numbers(body, "fps", &welcome.fps, 1) ||
        !read_text(body, "session_id", welcome.session_id, sizeof welcome.session_id) ||
        !read_text(body, "resume_token", token, sizeof token) ||
        !read_text(body, "model", welcome.model, sizeof welcome.model) ||
        !read_text(body, "default_map", welcome.default_map, sizeof welcome.default_map) || client->state != WAITING)
        return 0;
    welcome.frame_width = (int32_t)width;
    welcome.frame_height = (int32_t)height;
    welcome.credit = (int32_t)credit;
    client->counts.resumes += welcome.resumed;
    if (!welcome.resumed)
        client->newest_seq = -1; /* a new session has sent nothing that could be acknowledged */
    if (client->next_seq <= last_seq)
        client->next_seq = last_seq + 1;
    client->welcome = welcome;
    client->heartbeat_us = heartbeat_us;
    memcpy(client->resume_token, token, sizeof token);
    client->waiting_since_us = 0;
    client->state = OPEN;
    read_text(body, "ring", ring, sizeof ring);
    client->has_frame = client->has_frame && client->frame.pixels != client->ring.copy; /* it goes with the old ring */
    open_ring(&client->ring, client->options.shared_memory ? ring : "", welcome.frame_width, welcome.frame_height);
    return HB_OPENED;
}

/* `pixels` is taken over when the frame is accepted. */
static unsigned on_frame(hb_client *client, const msgpack_object *body, zmq_msg_t *pixels, int64_t now_us)
{
    static const char *const sources[] = {"generated", "reprojected", "held"};
    hb_frame frame = {0};
    char source[16], format[16], action[sizeof client->action];
    int64_t t_us, width, height;
    if (client->state != OPEN || !read_int(body, "seq", 0, INT64_MAX, &frame.seq) ||
        !read_int(body, "t_us", 0, INT64_MAX, &t_us) || !read_text(body, "source", source, sizeof source) ||
        !read_int(body, "chunk", -1, INT64_MAX, &frame.chunk) || !read_int(body, "index", 0, INT64_MAX, &frame.index) ||
        !read_numbers(body, "position", frame.camera.position, 3) ||
        !read_numbers(body, "rotation", frame.camera.rotation, 4) ||
        !read_numbers(body, "vertical_fov_deg", &frame.camera.vertical_fov_deg, 1) ||
        !read_text(body, "action", action, sizeof action) ||
        !read_int(body, "control_age_us", 0, INT64_MAX, &frame.control_age_us) ||
        !read_int(body, "server_us", 0, INT64_MAX, &frame.server_us) ||
        !read_bool(body, "deadline_met", &frame.deadline_met) || !read_int(body, "width", 1, 4096, &width) ||
        !read_int(body, "height", 1, 4096, &height) || !read_text(body, "pixel_format", format, sizeof format))
        return 0;
    /* Answers come in the order of their controls; whatever else it is, it is not ours to acknowledge. */
    if (frame.seq <= client->newest_seq || frame.seq >= client->next_seq)
        return 0;
    int64_t slot = -1, sequence = 0;
    read_int(body, "ring_slot", -1, 9, &slot);
    read_int(body, "ring_sequence", 0, INT64_MAX, &sequence);
    bool in_ring = slot >= 0, lost = false;
    int known = -1;
    for (int i = 0; i < 3; i++)
        known = strcmp(source, sources[i]) == 0 ? i : known;
    frame.is_jpeg = strcmp(format, "jpeg") == 0;
    frame.pixels_size = in_ring ? (size_t)(3 * width * height) : zmq_msg_size(pixels);
    if (known < 0 || (in_ring && (client->ring.memory == NULL || zmq_msg_size(pixels) != 0 || frame.is_jpeg ||
                                  client->ring.width != width || client->ring.height != height)) ||
        (frame.is_jpeg ? !client->options.accepts_jpeg || frame.pixels_size > MAX_PIXELS_BYTES
                       : strcmp(format, "rgb8") != 0 || frame.pixels_size != (size_t)(3 * width * height)))
        return 0;
    frame.source = (hb_source)known;
    frame.width = (int32_t)width;
    frame.height = (int32_t)height;
    frame.round_trip_us = now_us - t_us;
    int64_t late_us = frame.round_trip_us - client->options.budget_us;
    client->lateness_us = (int32_t)(late_us > INT32_MAX ? INT32_MAX : late_us < INT32_MIN ? INT32_MIN : late_us);
    *(known == HB_GENERATED ? &client->counts.generated
                            : known == HB_REPROJECTED ? &client->counts.reprojected : &client->counts.held) += 1;
    client->newest_seq = frame.seq;
    client->waiting_since_us = 0;
    if (in_ring) {
        lost = !read_slot(&client->ring, slot, sequence);
        client->counts.in_ring += !lost;
        frame.pixels = client->ring.copy;
    } else {
        zmq_msg_move(&client->pixels, pixels);
        frame.pixels = zmq_msg_data(&client->pixels);
    }
    if (lost) { /* it counts as read, and pixels travel in the message from now on */
        client->has_frame = client->has_frame && client->frame.pixels != client->ring.copy;
        close_ring(&client->ring);
        return 0;
    }
    memcpy(client->action, action, sizeof action);
    frame.action = client->action;
    client->frame = frame;
    client->has_frame = true;
    return HB_FRAME;
}

static unsigned on_error(hb_client *client, const msgpack_object *body, int64_t now_us)
{
    char code[32], text[768] = "", reply[16] = "";
    bool fatal = false;
    if (!read_text(body, "code", code, sizeof code))
        return 0;
    read_text(body, "text", text, sizeof text);
    read_bool(body, "fatal", &fatal);
    read_text(body, "in_reply_to", reply, sizeof reply);
    bool unexpected = strcmp(code, "unexpected_message") == 0;
    /* The server gave us up after a silence, or was restarted, or ZeroMQ made the connection anew. */
    if (fatal && (unexpected || strcmp(code, "session_expired") == 0) && client->resume_token[0] != '\0')
        return lose(client, now_us, text); /* nothing new while WAITING: what was under way is refused as well */
    if (unexpected && strcmp(reply, "HELLO") == 0 && client->state == WAITING && client->resume_token[0] != '\0') {
        client->state = OPEN; /* the session never ended */
        return 0;
    }
    if (strcmp(reply, "CONTROL") == 0 && client->state == OPEN)
        client->counts.refused++;
    snprintf(client->notice, sizeof client->notice, "%s: %s", code, text);
    if (fatal)
        client->state = CLOSED;
    return fatal ? HB_CLOSED : HB_REFUSED;
}

static unsigned on_message(hb_client *client, zmq_msg_t *parts, int count, int64_t now_us)
{
    if (count < 3 || zmq_msg_size(&parts[0]) != 4 || memcmp(zmq_msg_data(&parts[0]), "HLB1", 4) != 0 ||
        zmq_msg_size(&parts[1]) != 1 || zmq_msg_size(&parts[2]) > MAX_BODY_BYTES ||
        !sound(zmq_msg_data(&parts[2]), zmq_msg_size(&parts[2])))
        return 0;
    uint8_t type = *(uint8_t *)zmq_msg_data(&parts[1]);
    if (count != (type == FRAME ? 4 : 3))
        return 0;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t offset = 0;
    unsigned found = 0;
    if (msgpack_unpack_next(&unpacked, zmq_msg_data(&parts[2]), zmq_msg_size(&parts[2]), &offset) ==
        MSGPACK_UNPACK_SUCCESS) {
        const msgpack_object *body = &unpacked.data;
        int64_t number = 1000000;
        client->heard_us = now_us;
        switch (type) {
        case WELCOME:
            found = on_welcome(client, body);
            break;
        case FRAME:
            found = on_frame(client, body, &parts[3], now_us);
            break;
        case ERROR_:
            found = on_error(client, body, now_us);
            break;
        case PING:
            if (read_int(body, "t_us", 0, INT64_MAX, &number)) {
                msgpack_packer packer;
                put_int(begin(client, &packer, 1), "t_us", number);
                send_out(client, PONG);
            }
            break;
        case BUSY:
            if (client->state == WAITING) {
                read_int(body, "retry_after_us", 0, INT64_MAX / 2, &number);
                client->hello_due_us = now_us + number;
                read_text(body, "text", client->notice, sizeof client->notice);
                found = HB_BUSY;
            }
            break;
        case BYE:
            client->state = CLOSED;
            snprintf(client->notice, sizeof client->notice, "the server ended the session");
            read_text(body, "reason", client->notice, sizeof client->notice);
            found = HB_CLOSED;
            break;
        default: /* from a later version: not ours to judge */
            break;
        }
    }
    msgpack_unpacked_destroy(&unpacked);
    return found;
}

/* Reads one multipart message, however many parts it has; false when none waits. */
static bool receive(hb_client *client, int64_t now_us, unsigned *found)
{
    zmq_msg_t parts[MAX_PARTS_OF_MESSAGE];
    int count = 0, more = 1, flags = ZMQ_DONTWAIT;
    while (more) {
        zmq_msg_t surplus, *part = count < MAX_PARTS_OF_MESSAGE ? &parts[count] : &surplus;
        zmq_msg_init(part);
        if (zmq_msg_recv(part, client->socket, flags) < 0) {
            zmq_msg_close(part);
            break;
        }
        flags = 0; /* the rest of a message is there already */
        more = zmq_msg_more(part);
        if (part == &surplus)
            zmq_msg_close(part);
        count++;
    }
    if (0 < count && count <= MAX_PARTS_OF_MESSAGE)
        *found |= on_message(client, parts, count, now_us);
    for (int i = 0; i < count && i < MAX_PARTS_OF_MESSAGE; i++)
        zmq_msg_close(&parts[i]);
    return count > 0;
}

/* ---- the public functions ----------------------------------------------------------------------------------------- */

static char *copy_of(const char *text, const char *otherwise)
{
    const char *from = text == NULL ? otherwise : text;
    char *copy = malloc(strlen(from) + 1);
    return copy == NULL ? NULL : strcpy(copy, from);
}

static bool set_up(hb_client *client, const hb_options *options)
{
    hb_options *ours = &client->options;
    *ours = *options;
    ours->units_per_metre = options->units_per_metre == 0 ? 1 : options->units_per_metre;
    ours->budget_us = options->budget_us == 0 ? 16667 : options->budget_us;
    ours->tick_hz = options->tick_hz == 0 ? 60 : options->tick_hz;
    ours->credit = options->credit == 0 ? 2 : options->credit;
    client->name = copy_of(options->name, "c");
    client->axes = copy_of(options->axes, "opengl");
    client->context = zmq_ctx_new();
    client->socket = client->context == NULL ? NULL : zmq_socket(client->context, ZMQ_DEALER);
    if (client->name == NULL || client->axes == NULL || client->socket == NULL) {
        snprintf(open_notice, sizeof open_notice, "out of memory or sockets");
        return false;
    }
    int none = 0, yes = 1;
    int64_t most = MAX_PIXELS_BYTES;
    zmq_setsockopt(client->socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(client->socket, ZMQ_IMMEDIATE, &yes, sizeof yes);
    zmq_setsockopt(client->socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    if (options->curve_server_key != NULL &&
        (options->curve_public_key == NULL || options->curve_secret_key == NULL ||
         zmq_setsockopt(client->socket, ZMQ_CURVE_SERVERKEY, options->curve_server_key, 41) != 0 ||
         zmq_setsockopt(client->socket, ZMQ_CURVE_PUBLICKEY, options->curve_public_key, 41) != 0 ||
         zmq_setsockopt(client->socket, ZMQ_CURVE_SECRETKEY, options->curve_secret_key, 41) != 0)) {
        snprintf(open_notice, sizeof open_notice,
                 "CURVE: expected three Z85 keys of 40 characters, and a libzmq with CURVE (%s)", zmq_strerror(zmq_errno()));
        return false;
    }
    const char *address = options->address == NULL ? "tcp://127.0.0.1:5599" : options->address;
    if (zmq_connect(client->socket, address) != 0) {
        snprintf(open_notice, sizeof open_notice, "address: got %.128s, expected tcp://HOST:PORT (%s)", address,
                 zmq_strerror(zmq_errno()));
        return false;
    }
    return true;
}

hb_client *hb_open(const hb_options *options)
{
    hb_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    zmq_msg_init(&client->pixels);
    msgpack_sbuffer_init(&client->out);
    client->newest_seq = -1;
    client->heard_us = hb_now_us();
    if (!set_up(client, options)) {
        hb_close(client);
        return NULL;
    }
    return client;
}

void hb_close(hb_client *client)
{
    if (client == NULL)
        return;
    if (client->socket != NULL) {
        if (client->state == OPEN) {
            msgpack_packer packer;
            put_named_text(begin(client, &packer, 1), "reason", "closed by the game");
            send_out(client, BYE);
        }
        int linger_ms = client->state == OPEN ? BYE_MS : 0;
        zmq_setsockopt(client->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
        zmq_close(client->socket);
    }
    if (client->context != NULL)
        zmq_ctx_term(client->context);
    zmq_msg_close(&client->pixels);
    close_ring(&client->ring);
    msgpack_sbuffer_destroy(&client->out);
    free(client->name);
    free(client->axes);
    free(client);
}

unsigned hb_poll(hb_client *client, int timeout_ms)
{
    unsigned found = 0;
    int64_t now_us = hb_now_us(), until_us = now_us + (int64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000;
    do {
        if (client->state == CLOSED)
            return HB_CLOSED;
        if (client->state == WAITING)
            send_hello(client, now_us);
        int64_t left_us = until_us - now_us, slice_us = client->state == WAITING ? 10000 : left_us;
        zmq_pollitem_t item = {client->socket, 0, ZMQ_POLLIN, 0};
        zmq_poll(&item, 1, (long)(((left_us < slice_us ? left_us : slice_us) + 999) / 1000));
        now_us = hb_now_us();
        while (client->state != CLOSED && receive(client, now_us, &found))
            now_us = hb_now_us();
        if (client->state == OPEN && client->heartbeat_us > 0 && client->waiting_since_us > 0 &&
            now_us - client->waiting_since_us > MISSED_HEARTBEATS * client->heartbeat_us &&
            now_us - client->heard_us > MISSED_HEARTBEATS * client->heartbeat_us)
            found |= lose(client, now_us, "nothing heard from the server");
        if (!client->has_frame) /* one that came was lost again with its ring */
            found &= ~(unsigned)HB_FRAME;
    } while (found == 0 && now_us < until_us);
    return found;
}

int64_t hb_send(hb_client *client, const hb_control *control)
{
    if (client->state != OPEN)
        return -1;
    msgpack_packer packer, *to = begin(client, &packer, 11);
    int64_t now_us = hb_now_us();
    put_int(to, "seq", client->next_seq);
    put_int(to, "t_us", now_us);
    put_numbers(to, "position", control->camera.position, 3);
    put_numbers(to, "rotation", control->camera.rotation, 4);
    put_number(to, "vertical_fov_deg", control->camera.vertical_fov_deg);
    put_named_text(to, "action", control->action);
    put_text(to, "events");
    msgpack_pack_array(to, control->event_count);
    for (size_t i = 0; i < control->event_count; i++) {
        msgpack_pack_map(to, 2);
        put_named_text(to, "kind", control->events[i].kind);
        put_named_text(to, "value", control->events[i].value);
    }
    put_bool(to, "teleport", control->teleport);
    put_int(to, "lateness_us", client->lateness_us);
    put_int(to, "frame_received_seq", client->newest_seq);
    put_bool(to, "shared_frames", client->ring.memory != NULL);
    if (!send_out(client, CONTROL))
        return -1;
    client->counts.controls++;
    if (client->waiting_since_us == 0)
        client->waiting_since_us = now_us;
    return client->next_seq++;
}

static void put_part(msgpack_packer *to, const hb_part *part)
{
    static const char *const shapes[] = {"box", "sphere", "cylinder", "plane", "mesh"};
    bool mesh = part->shape == HB_MESH;
    msgpack_pack_map(to, mesh ? 9 : 7);
    put_int(to, "id", part->id);
    put_named_text(to, "shape", shapes[part->shape]);
    put_numbers(to, "position", part->position, 3);
    put_numbers(to, "rotation", part->rotation, 4);
    put_numbers(to, "size", part->size, 3);
    put_named_text(to, "material", part->material);
    put_numbers(to, "colour", part->colour, 3);
    if (mesh) {
        put_bytes(to, "vertices", part->vertices, part->vertex_count * 3 * sizeof(float));
        put_bytes(to, "triangles", part->triangles, part->triangle_count * 3 * sizeof(uint32_t));
    }
}

bool hb_send_scene(hb_client *client, const hb_scene *scene)
{
    if (client->state != OPEN)
        return false;
    size_t fields = 4 + (scene->prompt != NULL) + (scene->seed >= 0);
    msgpack_packer packer, *to = begin(client, &packer, fields);
    if (scene->prompt != NULL)
        put_named_text(to, "prompt", scene->prompt);
    if (scene->seed >= 0)
        put_int(to, "seed", scene->seed);
    put_bool(to, "replace", scene->replace);
    put_text(to, "add");
    msgpack_pack_array(to, scene->add_count);
    for (size_t i = 0; i < scene->add_count; i++)
        put_part(to, &scene->add[i]);
    put_text(to, "move");
    msgpack_pack_array(to, scene->move_count);
    for (size_t i = 0; i < scene->move_count; i++) {
        msgpack_pack_map(to, 3);
        put_int(to, "id", scene->move[i].id);
        put_numbers(to, "position", scene->move[i].position, 3);
        put_numbers(to, "rotation", scene->move[i].rotation, 4);
    }
    put_text(to, "remove");
    msgpack_pack_array(to, scene->remove_count);
    for (size_t i = 0; i < scene->remove_count; i++)
        msgpack_pack_uint32(to, scene->remove[i]);
    return client->out.size <= MAX_SCENE_BYTES && send_out(client, SCENE);
}

bool hb_send_reset(hb_client *client, int64_t seed, const char *prompt)
{
    if (client->state != OPEN)
        return false;
    msgpack_packer packer, *to = begin(client, &packer, (seed >= 0) + (prompt != NULL));
    if (seed >= 0)
        put_int(to, "seed", seed);
    if (prompt != NULL)
        put_named_text(to, "prompt", prompt);
    return send_out(client, RESET);
}

const hb_frame *hb_newest_frame(const hb_client *client) { return client->has_frame ? &client->frame : NULL; }
const hb_welcome *hb_get_welcome(const hb_client *client) { return &client->welcome; }
hb_counts hb_get_counts(const hb_client *client) { return client->counts; }
const char *hb_notice(const hb_client *client) { return client == NULL ? open_notice : client->notice; }
