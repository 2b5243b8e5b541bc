// HeliosBridgeComponent.h: put it on the pawn or camera actor of a level; a sample over the C client, to be changed.
#pragma once

#include "Components/ActorComponent.h"
#include "CoreMinimal.h"
#include "helios_bridge.h"

#include "HeliosBridgeComponent.generated.h"

class UCameraComponent;
class UPrimitiveComponent;
class UTexture2D;

/** Sends the owner's camera each tick and keeps the newest frame in a texture; hands over the level's simple collision. */
UCLASS(ClassGroup = (Rendering), meta = (BlueprintSpawnableComponent))
class UHeliosBridgeComponent : public UActorComponent
{
    GENERATED_BODY()

public:
    UHeliosBridgeComponent();

    /** Of helios-bridge serve. */
    UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "Helios")
    FString Address = TEXT("tcp://127.0.0.1:5599");

    /** What happens, in words; holds until changed. */
    UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "Helios")
    FString Action;

    /** Hand over the static meshes' and shape components' simple collision; off: the server's own map. */
    UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "Helios")
    bool bHandOverLevel = true;

    /** The newest frame: give it to a widget or a material. */
    UPROPERTY(BlueprintReadOnly, Category = "Helios")
    UTexture2D* Frame = nullptr;

    /** A component tag "helios:brick" names the material of what it is on; else it is plaster. */
    static FString MaterialOf(const UPrimitiveComponent* Component);

    virtual void BeginPlay() override;
    virtual void EndPlay(const EEndPlayReason::Type Reason) override;
    virtual void TickComponent(float Seconds, ELevelTick Kind, FActorComponentTickFunction* Function) override;

private:
    struct FMoving
    {
        const UPrimitiveComponent* Component;
        FTransform Offset; // of the shape in its component
        FTransform Last;
        uint32_t Id;
    };

    void HandOverLevel();
    void Add(const UPrimitiveComponent* Component, hb_shape Shape, const FTransform& Offset, const FVector& Size);
    void SendMoves();
    void Show(const hb_frame& Received);

    hb_client* Client = nullptr;
    UCameraComponent* Camera = nullptr;
    TArray<hb_part> Parts;
    TArray<TArray<char>> MaterialNames; // what Parts point to
    TArray<FMoving> Moving;
    TArray<hb_part_move> Moves;
};
