/* helios_bridge.h: a game's side of the helios-bridge protocol 1.1, as a C ABI for native engines.
 *
 * One client is one session. Call it from one thread; nothing here blocks but hb_poll with a timeout. The protocol
 * itself, with every field's meaning, is unity_plugin_protocol.md. Strings are UTF-8.
 */
#ifndef HELIOS_BRIDGE_H
#define HELIOS_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(HB_SHARED)
#define HB_API __declspec(dllexport)
#else
#define HB_API
#endif

typedef struct hb_client hb_client;

/* Zero-initialise, then set what you need: every zero means the default that stands behind it. */
typedef struct hb_options {
    const char *address;         /* "tcp://127.0.0.1:5599" */
    const char *name;            /* "c": for the server's log */
    const char *axes;            /* "opengl"; "unreal", "unity", "godot", "opencv": all lengths and rotations here are in them */
    double units_per_metre;      /* 1; Unreal: 100 */
    int64_t budget_us;           /* 16667: how long after a control its answer is still useful */
    double tick_hz;              /* 60 */
    int32_t credit;              /* 2: frames under way unread, at most 8 */
    double max_speed;            /* 0: not declared; units/s that the camera never exceeds, for predictions */
    double max_turn_deg_per_s;   /* 0: not declared */
    bool shared_memory;          /* false: pixels travel in the message. true: in shared memory where that can be had */
    bool accepts_jpeg;           /* false: pixels come as rgb8. true: as JPEG where the server has it; you decode it */
    const char *curve_server_key; /* NULL: no encryption. Z85 text of 40 characters, all three together */
    const char *curve_public_key;
    const char *curve_secret_key;
} hb_options;

typedef struct hb_camera {
    double position[3];       /* in your axes and units */
    double rotation[4];       /* camera-to-world unit quaternion x, y, z, w */
    double vertical_fov_deg;  /* 1 .. 170 */
} hb_camera;

typedef struct hb_event {
    const char *kind, *value; /* what happened once ("door", "open"); never lost to a newer control */
} hb_event;

typedef struct hb_control {
    hb_camera camera;
    const char *action;     /* NULL: "" */
    const hb_event *events; /* at most 16 */
    size_t event_count;
    bool teleport;          /* the camera jumped: older frames must not be bent to it */
} hb_control;

typedef enum hb_source { HB_GENERATED, HB_REPROJECTED, HB_HELD } hb_source;

typedef struct hb_frame {
    int64_t seq;            /* of the control it answers */
    hb_source source;
    int64_t chunk, index;   /* which generated frame it comes from; chunk -1: none was made yet */
    hb_camera camera;       /* that these pixels show */
    const char *action;     /* that shaped them */
    int64_t control_age_us, server_us;
    int64_t round_trip_us;  /* from sending the control to reading this, on this clock */
    bool deadline_met;
    int32_t width, height;
    bool is_jpeg;
    const uint8_t *pixels;  /* rgb8: height rows from the top of 3 * width bytes */
    size_t pixels_size;
} hb_frame;

typedef struct hb_welcome {
    bool resumed;           /* false: a new session, which knows nothing of your level */
    int32_t frame_width, frame_height, credit;
    double fps;
    char model[65 * 4], default_map[65 * 4], session_id[65 * 4];
} hb_welcome;

typedef enum hb_shape { HB_BOX, HB_SPHERE, HB_CYLINDER, HB_PLANE, HB_MESH } hb_shape;

typedef struct hb_part {
    uint32_t id;
    hb_shape shape;
    double position[3], rotation[4], size[3]; /* size: full extents along the part's own axes */
    const char *material;                     /* NULL: "" */
    double colour[3];                         /* linear 0 .. 1 */
    const float *vertices;                    /* HB_MESH: x, y, z triples in the part's own axes */
    size_t vertex_count;
    const uint32_t *triangles;                /* HB_MESH: index triples; cross(b - a, c - a) points outwards */
    size_t triangle_count;
} hb_part;

typedef struct hb_part_move {
    uint32_t id;
    double position[3], rotation[4];
} hb_part_move;

/* Applied in the order replace, remove, add, move. A session's first parts must come with replace. */
typedef struct hb_scene {
    bool replace;
    const char *prompt;    /* NULL: unchanged */
    int64_t seed;          /* -1: unchanged */
    const hb_part *add;
    size_t add_count;
    const hb_part_move *move;
    size_t move_count;
    const uint32_t *remove;
    size_t remove_count;
} hb_scene;

typedef struct hb_counts {
    int64_t controls;                   /* sent */
    int64_t generated, reprojected, held; /* answered */
    int64_t refused;                    /* answered by an ERROR */
    int64_t resumes;
    int64_t in_ring;                    /* answers whose pixels came through shared memory */
} hb_counts;

/* What an hb_poll found; several may stand together. */
enum {
    HB_FRAME = 1,    /* hb_newest_frame has one that is newer than before */
    HB_OPENED = 2,   /* a session is open: hb_get_welcome. When it is not `resumed`, hand over your level */
    HB_REFUSED = 4,  /* the server refused a message and the session goes on: hb_notice */
    HB_BUSY = 8,     /* no session is free; asked again by itself: hb_notice */
    HB_LOST = 16,    /* the session was lost; being resumed by itself */
    HB_CLOSED = 32   /* the session is over: hb_notice. Nothing more will come; hb_close */
};

/* Starts connecting. Returns NULL when an option cannot be used (hb_notice(NULL) says which). */
HB_API hb_client *hb_open(const hb_options *options);

/* Says BYE and frees everything. NULL is allowed. */
HB_API void hb_close(hb_client *client);

/* Reads everything that waits, for at most timeout_ms until something comes; answers PING, resumes, counts.
 * Returns HB_* flags, 0 when nothing came. */
HB_API unsigned hb_poll(hb_client *client, int timeout_ms);

/* Sends one control. Returns its seq, or -1 while no session is open or the connection takes no message. */
HB_API int64_t hb_send(hb_client *client, const hb_control *control);

/* Hands over or changes the level. Returns false while no session is open, or when it does not fit one message.
 * After seconds without hb_poll (a level was loading) call it first: a session that was lost meanwhile keeps nothing. */
HB_API bool hb_send_scene(hb_client *client, const hb_scene *scene);

/* Starts the video anew. seed -1, prompt NULL: unchanged. */
HB_API bool hb_send_reset(hb_client *client, int64_t seed, const char *prompt);

/* The newest frame, or NULL before the first. Valid until the next hb_poll or hb_close. */
HB_API const hb_frame *hb_newest_frame(const hb_client *client);

HB_API const hb_welcome *hb_get_welcome(const hb_client *client); /* of the newest HB_OPENED */
HB_API hb_counts hb_get_counts(const hb_client *client);
HB_API const char *hb_notice(const hb_client *client); /* for people: what was refused, or why it closed; never NULL */
HB_API int64_t hb_now_us(void);                        /* the clock of round_trip_us */

#ifdef __cplusplus
}
#endif
#endif
