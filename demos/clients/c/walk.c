/* walk ADDRESS SECONDS: hands over a small level, walks a circle at 60 Hz, "shows" each frame, prints a line of JSON.
 *
 * The walk is the one of demos/clients/README.md, in OpenGL's axes: x right, y up, -z forward.
 */
#define _POSIX_C_SOURCE 199309L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helios_bridge.h"

enum { TICK_US = 16667, MOST_TRIPS = 1 << 16, SETTLE_US = 1000000 };

static const hb_part level[] = {
    {.id = 1, .shape = HB_PLANE, .rotation = {0, 0, 0, 1}, .size = {40, 1, 40}, .material = "grass", .colour = {1, 1, 1}},
    {.id = 2, .shape = HB_BOX, .position = {0, 1.5, -8}, .rotation = {0, 0, 0, 1}, .size = {8, 3, 0.5}, .material = "brick", .colour = {1, 1, 1}},
    {.id = 3, .shape = HB_CYLINDER, .position = {4, 2, -5}, .rotation = {0, 0, 0, 1}, .size = {1, 4, 1}, .material = "stone", .colour = {1, 1, 1}},
    {.id = 4, .shape = HB_SPHERE, .position = {2, 1.5, -4}, .rotation = {0, 0, 0, 1}, .size = {0.6, 0.6, 0.6}, .material = "lamp", .colour = {1, 0.9, 0.7}},
};

static hb_camera camera_at(int64_t tick)
{
    double turned = 0.01 * (double)tick; /* to the right, around a point 3 m to the right of the start */
    hb_camera camera = {
        .position = {3 * (1 - cos(turned)), 1.6, -3 * sin(turned)},
        .rotation = {0, -sin(turned / 2), 0, cos(turned / 2)},
        .vertical_fov_deg = 60,
    };
    return camera;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* What a game does with a frame is upload it to a texture; here it is copied, as an upload would. */
static void show(const hb_frame *frame, uint8_t *quad, size_t capacity)
{
    memcpy(quad, frame->pixels, frame->pixels_size < capacity ? frame->pixels_size : capacity);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: walk ADDRESS SECONDS\n");
        return 2;
    }
    hb_options options = {
        .address = argv[1], .name = "c walk", .credit = 8, .shared_memory = getenv("HELIOS_NO_SHARED_MEMORY") == NULL,
        .curve_server_key = getenv("HELIOS_SERVER_KEY"),
        .curve_public_key = getenv("HELIOS_PUBLIC_KEY"),
        .curve_secret_key = getenv("HELIOS_SECRET_KEY"),
    };
    hb_client *client = hb_open(&options);
    if (client == NULL) {
        fprintf(stderr, "walk: %s\n", hb_notice(NULL));
        return 2;
    }
    static uint8_t quad[3 * 4096 * 4096];
    static int64_t trips[MOST_TRIPS];
    int64_t trip_count = 0, shown = 0, tick = 0, begin_us = hb_now_us(), next_us = begin_us;
    int64_t end_us = begin_us + (int64_t)(atof(argv[2]) * 1e6), settled_us = end_us + SETTLE_US;
    for (int64_t now_us = begin_us; now_us < settled_us; now_us = hb_now_us()) {
        int64_t wait_us = next_us - now_us;
        unsigned found = hb_poll(client, wait_us <= 0 ? 0 : (int)((wait_us + 999) / 1000));
        if (found & HB_OPENED && !hb_get_welcome(client)->resumed) {
            hb_scene scene = {.replace = true, .seed = 1, .add = level, .add_count = sizeof level / sizeof *level};
            hb_send_scene(client, &scene);
        }
        if (found & HB_FRAME) {
            const hb_frame *frame = hb_newest_frame(client);
            trips[trip_count++ % MOST_TRIPS] = frame->round_trip_us;
            show(frame, quad, sizeof quad);
            shown++;
        }
        if (found & (HB_REFUSED | HB_BUSY | HB_LOST | HB_CLOSED))
            fprintf(stderr, "walk: %s\n", hb_notice(client));
        if (found & HB_CLOSED)
            break;
        now_us = hb_now_us();
        hb_counts counts = hb_get_counts(client);
        int64_t answered = counts.generated + counts.reprojected + counts.held + counts.refused;
        if (now_us >= end_us && answered >= counts.controls)
            break;
        if (now_us < next_us || now_us >= end_us) {
            next_us = now_us >= end_us ? now_us + TICK_US : next_us;
            continue;
        }
        next_us = next_us + TICK_US > now_us ? next_us + TICK_US : now_us + TICK_US;
        hb_control control = {.camera = camera_at(tick), .action = "walk around the pillar"};
        if (hb_send(client, &control) < 0)
            continue;
        if (tick++ % 15 == 14) {
            hb_part_move lamp = {.id = 4, .position = {2, 1.5 + 0.5 * sin((double)tick / 30), -4}, .rotation = {0, 0, 0, 1}};
            hb_scene scene = {.seed = -1, .move = &lamp, .move_count = 1};
            hb_send_scene(client, &scene);
        }
    }
    hb_counts counts = hb_get_counts(client);
    int64_t count = trip_count < MOST_TRIPS ? trip_count : MOST_TRIPS;
    qsort(trips, (size_t)count, sizeof *trips, by_value);
    printf("{\"client\": \"c\", \"controls\": %lld, \"generated\": %lld, \"reprojected\": %lld, \"held\": %lld, \"refused\": %lld, "
           "\"resumes\": %lld, \"in_ring\": %lld, \"shown\": %lld, \"round_trip_us_p50\": %lld, \"round_trip_us_p99\": %lld}\n",
           (long long)counts.controls, (long long)counts.generated, (long long)counts.reprojected, (long long)counts.held,
           (long long)counts.refused, (long long)counts.resumes, (long long)counts.in_ring, (long long)shown,
           (long long)(count ? trips[count / 2] : 0), (long long)(count ? trips[count * 99 / 100] : 0));
    hb_close(client);
    return counts.controls > 0 && shown > 0 ? 0 : 1;
}
