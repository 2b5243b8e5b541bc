/* wire ADDRESS: says to a server what the vectors hello_full, scene_full, reset_full and control_full say (nine times),
 * and prints what it reads as lines of JSON. test_engine_wire.py is the server. */
#include <stdio.h>
#include <string.h>

#include "helios_bridge.h"

static void print_frame(const hb_frame *frame)
{
    static const char *const sources[] = {"generated", "reprojected", "held"};
    const hb_camera *at = &frame->camera;
    printf("{\"frame\": {\"seq\": %lld, \"source\": \"%s\", \"chunk\": %lld, \"index\": %lld, \"action\": \"%s\", "
           "\"position\": [%.17g, %.17g, %.17g], \"rotation\": [%.17g, %.17g, %.17g, %.17g], \"vertical_fov_deg\": %.17g, "
           "\"control_age_us\": %lld, \"server_us\": %lld, \"deadline_met\": %s, \"width\": %d, \"height\": %d}, \"pixels\": \"",
           (long long)frame->seq, sources[frame->source], (long long)frame->chunk, (long long)frame->index, frame->action,
           at->position[0], at->position[1], at->position[2], at->rotation[0], at->rotation[1], at->rotation[2],
           at->rotation[3], at->vertical_fov_deg, (long long)frame->control_age_us, (long long)frame->server_us,
           frame->deadline_met ? "true" : "false", frame->width, frame->height);
    for (size_t i = 0; i < frame->pixels_size; i++)
        printf("%02x", frame->pixels[i]);
    printf("\"}\n");
}

static void speak(hb_client *client)
{
    static const float vertices[] = {0, 0, 0, 0, 0, 1, 1, 0, 0};
    static const uint32_t triangles[] = {0, 1, 2}, removed[] = {9};
    hb_part parts[] = {
        {.id = 1, .shape = HB_BOX, .position = {0, 0.5, -4}, .rotation = {0, 0, 0, 1}, .size = {1, 1, 1}, .colour = {1, 1, 1}},
        {.id = 2, .shape = HB_MESH, .rotation = {0, 0, 0, 1}, .size = {1, 1, 1}, .material = "stone", .colour = {0.5, 0.25, 1},
         .vertices = vertices, .vertex_count = 3, .triangles = triangles, .triangle_count = 1},
    };
    hb_part_move move = {.id = 1, .position = {1, 0.5, -4}, .rotation = {0, 1, 0, 0}};
    hb_scene scene = {.replace = true, .prompt = "an old garden", .seed = 42, .add = parts, .add_count = 2,
                      .move = &move, .move_count = 1, .remove = removed, .remove_count = 1};
    hb_send_scene(client, &scene);
    hb_send_reset(client, 3, "again");
    hb_event event = {"door", "open"};
    hb_control control = {.camera = {{1.5, 1.6, -2}, {0, 0.6, 0, 0.8}, 60}, .action = "make it night",
                          .events = &event, .event_count = 1, .teleport = true};
    for (int i = 0; i < 9; i++)
        hb_send(client, &control);
}

int main(int argc, char **argv)
{
    hb_options options = {.address = argc > 1 ? argv[1] : NULL, .name = "vector", .axes = "unreal", .units_per_metre = 100,
                          .credit = 4, .budget_us = 8333, .tick_hz = 120, .shared_memory = true, .accepts_jpeg = true};
    hb_client *client = hb_open(&options);
    for (unsigned found = 0; !(found & HB_CLOSED);) {
        found = hb_poll(client, 1000);
        if (found & HB_OPENED) {
            const hb_welcome *welcome = hb_get_welcome(client);
            printf("{\"welcome\": {\"frame_width\": %d, \"frame_height\": %d, \"credit\": %d, \"fps\": %.17g, \"model\": \"%s\", "
                   "\"default_map\": \"%s\", \"session_id\": \"%s\", \"resumed\": %s}}\n", welcome->frame_width,
                   welcome->frame_height, welcome->credit, welcome->fps, welcome->model, welcome->default_map,
                   welcome->session_id, welcome->resumed ? "true" : "false");
            speak(client);
        }
        if (found & HB_FRAME)
            print_frame(hb_newest_frame(client));
        if (found & (HB_REFUSED | HB_CLOSED))
            printf("{\"notice\": \"%s\"}\n", hb_notice(client));
        fflush(stdout);
    }
    hb_close(client);
    return 0;
}
